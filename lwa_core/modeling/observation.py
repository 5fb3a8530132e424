"""One pass over the calibration examples, shared by all observing scorers of a recipe.

The loss is the cross-entropy of the one target of each example. All that scorers ask for comes from one forward pass,
one backward pass with frozen weights, and one more backward pass for every drawing of labels.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import attrs
import torch
import torch.nn.functional as F

from lwa_core.errors import PluginError
from lwa_core.modeling.attention import attention_probabilities
from lwa_core.modeling.gradients import GradientTap, LoopTap, Use, frozen, supported, tapped
from lwa_core.modeling.layered import block_input, block_output
from lwa_core.protocols import Batch

if TYPE_CHECKING:
    from lwa_core.modeling.probe import Probe

FORWARD = frozenset({"states", "target_vectors", "attention"})
WEIGHTS = frozenset({"gradient_norms", "batch_gradient_norms", "weight_products", "factors"})
BACKWARD = WEIGHTS | {"gate_gradients"}
SAMPLED = frozenset({"sampled_gradient_norms"})
OBSERVABLES = FORWARD | BACKWARD | SAMPLED


@attrs.frozen(eq=False)
class Observation:
    """What one micro-batch of calibration examples showed. What no scorer observes is None.

    Args:
        mask: Which positions are real (examples, time), bool; padding may lie on either side.
        targets: The item that followed each history (examples,).
        losses: Cross-entropy of the targets (examples,), double, in nats.
        states: Raw block-boundary states, depth + 1 tensors (examples, time, width).
        target_vectors: What the head multiplies the final states with to score each target (examples, width).
        attention: What each layer's heads look at, depth tensors (examples, heads, queries, keys), rows adding up to 1.
        gate_gradients: ∂ℓ_n/∂g_l of a gate g_l = 1 on each layer's branch, h + g (block(h) − h) (examples, layers),
            double.
        gradient_norms: ‖∇_θl ℓ_n‖² (examples, layers), double.
        batch_gradient_norms: ‖∇_θl of the mean loss of this micro-batch‖² (1, layers), double.
        weight_products: Of weights w and each example's gradients g_n, per layer: Σ w g_n, Σ |w g_n|, Σ w² g_n²
            (examples, layers, 3), double.
        factors: Of each linear map m of a layer, over the real positions: the mean of ‖a‖² (with 1 added where it has a
            bias) and the sum of ‖g‖² (examples, layers, maps, 2), double; zero where a layer has fewer maps.
        sampled_gradient_norms: As `gradient_norms`, for labels drawn from the model's own predictions (examples,
            layers, draws).
    """

    mask: torch.Tensor
    targets: torch.Tensor
    losses: torch.Tensor
    states: tuple[torch.Tensor, ...] | None = None
    target_vectors: torch.Tensor | None = None
    attention: tuple[torch.Tensor, ...] | None = None
    gate_gradients: torch.Tensor | None = None
    gradient_norms: torch.Tensor | None = None
    batch_gradient_norms: torch.Tensor | None = None
    weight_products: torch.Tensor | None = None
    factors: torch.Tensor | None = None
    sampled_gradient_norms: torch.Tensor | None = None

    @property
    def last(self) -> torch.Tensor:
        """Index of the last real position of each example (examples,)."""
        places = torch.arange(self.mask.shape[1], device=self.mask.device)
        return (places * self.mask).argmax(dim=1)

    def at_last(self, state: torch.Tensor) -> torch.Tensor:
        """A state at the last real position of each example: (examples, time, width) -> (examples, width)."""
        return state[torch.arange(len(state), device=state.device), self.last]

    def over_positions(self, values: torch.Tensor) -> torch.Tensor:
        """Mean over the real positions: (examples, time) -> (examples,), double."""
        weight = self.mask.double() / self.mask.sum(dim=1, keepdim=True)
        return (values.double() * weight).sum(dim=1)


def passes(needs: Collection[str], draws: int = 1) -> float:
    """Passes over the calibration examples that `observe` makes: one forward, and the backward ones."""
    asked = frozenset(needs)
    return 1.0 + bool(asked & BACKWARD) + (draws if asked & SAMPLED else 0)


def observe(probe: Probe, needs: Collection[str], *, draws: int = 1) -> Iterator[Observation]:
    """Run the full model over the calibration examples once, and give what `needs` names, a micro-batch at a time.

    Args:
        probe: The model and the examples, which come in the order `probe.order`.
        needs: Any of `OBSERVABLES`.
        draws: Drawings of labels for `sampled_gradient_norms`.

    Raises:
        PluginError: There is no such thing to observe.
        ModelError: The model does not have it (attention in a layer without any).
    """
    asked = frozenset(needs)
    if asked - OBSERVABLES:
        raise PluginError(f"there is nothing called {', '.join(sorted(asked - OBSERVABLES))} to observe")
    generator = torch.Generator().manual_seed(probe.seed)
    if "target_vectors" in asked:
        probe.item_vectors()  # before anything is hooked
    loop = bool(asked & (WEIGHTS | SAMPLED)) and not supported(probe.model)
    for batch in probe.batches(size=1 if loop else None):
        yield _Pass(probe, batch, asked, draws, loop).run(generator)


def finished(scorer: Any, parts: Sequence[torch.Tensor], probe: Probe) -> torch.Tensor:
    """The table of an observing scorer, from what it gave for each micro-batch.

    Rows of examples are put back into the examples' own order. Where the scorer has no `finish`, they are the table.
    """
    rows = torch.cat([part.detach().cpu() for part in parts])
    if len(rows) == probe.examples:
        rows = rows[torch.from_numpy(probe.order.argsort(kind="stable"))]
    finish = getattr(scorer, "finish", None)
    return rows if finish is None else finish(rows, probe)


class _Pass:
    """One micro-batch: one forward pass, and the backward passes from it."""

    def __init__(self, probe: Probe, batch: Batch, needs: frozenset[str], draws: int, loop: bool) -> None:
        self.probe, self.batch, self.needs, self.draws, self.loop = probe, batch, needs, draws, loop
        self.mask = batch["attention_mask"].bool()
        self.gates: dict[int, torch.Tensor] = {}
        self.sums = _Sums(probe, self.mask, needs)
        self.sampling = False

    def run(self, generator: torch.Generator) -> Observation:
        needs, found = self.needs, {}
        with ExitStack() as stack:
            tap: GradientTap | LoopTap | None = None
            if needs & (WEIGHTS | SAMPLED):
                tap = (
                    LoopTap(self.probe.model, self.sums.visit)
                    if self.loop
                    else stack.enter_context(tapped(self.probe.model, self.sums.visit))
                )
                stack.enter_context(torch.enable_grad())
            elif needs & BACKWARD:
                stack.enter_context(frozen(self.probe.model))
                stack.enter_context(torch.enable_grad())
            else:
                stack.enter_context(torch.no_grad())
            states = stack.enter_context(self.probe.model.observe()) if "states" in needs else None
            looked = stack.enter_context(attention_probabilities(self.probe.model)) if "attention" in needs else None
            if "gate_gradients" in needs:
                self._watch_gates(stack)
            logits = self.probe.logits(self.batch)
            losses = F.cross_entropy(logits, self.batch["targets"], reduction="none")
            if needs & BACKWARD:
                again = bool(needs & SAMPLED)
                if tap is None:
                    losses.sum().backward()  # type: ignore[no-untyped-call]
                else:
                    tap.backward(losses.sum(), again=again)
                found = self.sums.take()
            if needs & SAMPLED:
                assert tap is not None
                found["sampled_gradient_norms"] = self._sampled(tap, logits, generator)
            if "gate_gradients" in needs:
                found["gate_gradients"] = torch.stack([self.gates[i] for i in range(self.probe.depth)], dim=1)
            if "target_vectors" in needs:
                found["target_vectors"] = self.probe.item_vectors()[self.batch["targets"]]
            return Observation(
                mask=self.mask,
                targets=self.batch["targets"],
                losses=losses.detach().double(),
                states=None if states is None else tuple(state.detach() for state in states),
                attention=None if looked is None else tuple(looked),
                **found,
            )

    def _sampled(self, tap: GradientTap | LoopTap, logits: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Labels are drawn on the CPU, so that a seed draws the same ones on every device."""
        self.sampling = True
        odds = logits.detach().double().softmax(dim=1).cpu()
        rows = []
        for draw in range(self.draws):
            labels = torch.multinomial(odds, 1, generator=generator)[:, 0].to(logits.device)
            self.sums.sampling = True
            last = draw + 1 == self.draws
            tap.backward(F.cross_entropy(logits, labels, reduction="sum"), again=not last)
            rows.append(self.sums.take()["gradient_norms"])
        return torch.stack(rows, dim=2)

    def _watch_gates(self, stack: ExitStack) -> None:
        """∂ℓ/∂g at g = 1 is the gradient that arrives at the block's output, times what the block added."""

        def hook(index: int) -> Any:
            def after(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
                out = block_output(output)
                added = (out - block_input(args, kwargs)).detach()

                def arrived(gradient: torch.Tensor) -> None:
                    if not self.sampling:
                        self.gates[index] = (gradient * added).flatten(1).sum(dim=1, dtype=torch.double)

                out.register_hook(arrived)

            return after

        for index, layer in enumerate(self.probe.model.layers):
            stack.callback(layer.register_forward_hook(hook(index), with_kwargs=True).remove)


class _Sums:
    """Adds up, layer by layer, what comes back to the parameters in one backward pass."""

    def __init__(self, probe: Probe, mask: torch.Tensor, needs: frozenset[str]) -> None:
        self.depth, self.mask, self.needs, self.sampling = probe.depth, mask, needs, False
        self.examples = len(mask)
        self._clear()

    def _clear(self) -> None:
        rows, device = (self.examples, self.depth), self.mask.device
        self.norms = torch.zeros(rows, dtype=torch.double, device=device)
        self.products = torch.zeros((*rows, 3), dtype=torch.double, device=device)
        self.batch = torch.zeros((1, self.depth), dtype=torch.double, device=device)
        self.factors: dict[int, list[torch.Tensor]] = {layer: [] for layer in range(self.depth)}

    def visit(self, layers: tuple[int, ...], use: Use, matrix: torch.Tensor | None) -> None:
        needs, places = self.needs, list(layers)
        if self.sampling:
            self.norms[:, places] += _norm(use, matrix)[:, None]
            return
        if "weight_products" in needs:
            matrix = use.matrix() if matrix is None else matrix
            product = (matrix * use.parameter.detach()).flatten(1)
            told = (product.sum(dim=1), product.abs().sum(dim=1), product.square().sum(dim=1))
            self.products[:, places] += torch.stack(told, dim=1).double()[:, None]
        if "gradient_norms" in needs:
            self.norms[:, places] += _norm(use, matrix)[:, None]
        if "batch_gradient_norms" in needs:
            self.batch[:, places] += (_summed(use, matrix) / self.examples).double().square().sum()
        if "factors" in needs and use.kind == "product":
            for layer in places:
                self.factors[layer].append(_factors(use, self.mask))

    def take(self) -> dict[str, torch.Tensor]:
        found = {}
        if self.sampling or "gradient_norms" in self.needs:
            found["gradient_norms"] = self.norms
        if "weight_products" in self.needs:
            found["weight_products"] = self.products
        if "batch_gradient_norms" in self.needs:
            found["batch_gradient_norms"] = self.batch
        if "factors" in self.needs and not self.sampling:
            most = max(len(maps) for maps in self.factors.values())
            empty = torch.zeros(self.examples, 2, dtype=torch.double, device=self.mask.device)
            found["factors"] = torch.stack(
                [torch.stack([*maps, *[empty] * (most - len(maps))], dim=1) for maps in self.factors.values()], dim=1
            )
        self._clear()
        return found


def _norm(use: Use, matrix: torch.Tensor | None) -> torch.Tensor:
    if matrix is None:
        return use.squared_norm()
    return torch.linalg.vector_norm(matrix.flatten(1), dim=1).double().square()


def _summed(use: Use, matrix: torch.Tensor | None) -> torch.Tensor:
    """The gradient of the summed loss of the batch."""
    if matrix is None and use.kind == "product" and use.inputs is not None:
        flat = use.inputs.flatten(0, 1), use.gradient.flatten(0, 1)
        return flat[1].T @ flat[0]
    return (use.matrix() if matrix is None else matrix).sum(dim=0)


def _factors(use: Use, mask: torch.Tensor) -> torch.Tensor:
    """Mean of ‖a‖² and sum of ‖g‖² over the real positions of each example (examples, 2), double."""
    assert use.inputs is not None
    a = use.inputs.double().square().sum(dim=2) + use.biased  # (examples, positions)
    g = use.gradient.double().square().sum(dim=2)
    real = mask if mask.shape == a.shape else torch.ones_like(a, dtype=torch.bool)
    return torch.stack([(a * real).sum(dim=1) / real.sum(dim=1), (g * real).sum(dim=1)], dim=1)
