"""One pass over the calibration examples, shared by all observing scorers of a recipe.

The loss is the cross-entropy of the one target of each example. All that scorers ask for comes from one forward pass,
one backward pass with frozen weights, and one more backward pass for every drawing of labels.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack
from typing import Any
from weakref import WeakKeyDictionary

import attrs
import torch
import torch.nn.functional as F

from lwa_core.errors import ModelError, PluginError
from lwa_core.modeling.gradients.accumulators import GradientAccumulators
from lwa_core.modeling.gradients.taps import GradientTap, LoopTap, ParameterGradient, Weights, frozen, looped, tapped
from lwa_core.modeling.kernels.matmul import fast_linear_maps
from lwa_core.modeling.layers.attention import Attention, attention_probabilities
from lwa_core.modeling.layers.layered import block_input, block_output
from lwa_core.modeling.layers.packed_weights import assert_plain_weights
from lwa_core.modeling.probing.asked import BROKEN, AskedModel
from lwa_core.modeling.probing.state_form import assert_states_by_example
from lwa_core.types import Batch

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
        attention: What each layer's heads look at, and how many keys each query may look at, depth entries.
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
        places: Where the target is asked for (examples,), where the batch says so by `places`.
    """

    mask: torch.Tensor
    targets: torch.Tensor
    losses: torch.Tensor
    states: tuple[torch.Tensor, ...] | None = None
    target_vectors: torch.Tensor | None = None
    attention: tuple[Attention, ...] | None = None
    gate_gradients: torch.Tensor | None = None
    gradient_norms: torch.Tensor | None = None
    batch_gradient_norms: torch.Tensor | None = None
    weight_products: torch.Tensor | None = None
    factors: torch.Tensor | None = None
    sampled_gradient_norms: torch.Tensor | None = None
    places: torch.Tensor | None = None

    @property
    def last(self) -> torch.Tensor:
        """Where the target of each example is asked for: its last real position, if not said otherwise (examples,)."""
        if self.places is not None:
            return self.places
        places = torch.arange(self.mask.shape[1], device=self.mask.device)
        return (places * self.mask).argmax(dim=1)

    def at_last(self, state: torch.Tensor) -> torch.Tensor:
        """A state at the position `last` of each example: (examples, time, width) -> (examples, width)."""
        return state[torch.arange(len(state), device=state.device), self.last]

    def over_positions(self, values: torch.Tensor) -> torch.Tensor:
        """Mean over the real positions: (examples, time) -> (examples,), double."""
        weight = self.mask.double() / self.mask.sum(dim=1, keepdim=True)
        return (values.double() * weight).sum(dim=1)


def passes(needs: Collection[str], draws: int = 1) -> float:
    """Passes over the calibration examples that `observe` makes: one forward, and the backward ones."""
    asked = frozenset(needs)
    return 1.0 + bool(asked & BACKWARD) + (draws if asked & SAMPLED else 0)


def observe(probe: AskedModel, needs: Collection[str], *, draws: int = 1) -> Iterator[Observation]:
    """Run the full model over the calibration examples once, and give what `needs` names, a micro-batch at a time.

    Args:
        probe: The model and the examples, which come in the order `probe.order`.
        needs: Any of `OBSERVABLES`.
        draws: Drawings of labels for `sampled_gradient_norms`.

    Raises:
        PluginError: There is no such thing to observe.
        ModelError: The model does not have it (attention in a layer without any, gradients of quantised weights), or
            its states are not in the form that it is about; or it answers with NaN.
    """
    asked = frozenset(needs)
    if asked - OBSERVABLES:
        raise PluginError(f"there is nothing called {', '.join(sorted(asked - OBSERVABLES))} to observe")
    assert_states_by_example(probe, asked)
    generator = torch.Generator().manual_seed(probe.seed)
    chances = torch.stack([torch.rand(probe.examples, dtype=torch.double, generator=generator) for _ in range(draws)])
    if "target_vectors" in asked:
        probe.item_vectors()  # before anything is hooked
    weights = Weights(probe.model)
    loop = bool(asked & (WEIGHTS | SAMPLED)) and one_at_a_time(probe, weights)
    done = 0
    for batch in probe.batches(size=1 if loop else None):
        rows = probe.order[done : done + len(batch["targets"])]
        seen = _Pass(probe, batch, asked, chances[:, rows], weights, loop).run()
        if lost := int(seen.losses.isnan().sum()):
            raise ModelError(f"the full model's answers to {lost} of {len(rows)} examples are not finite", BROKEN)
        yield seen
        done += len(rows)


class _Pass:
    """One micro-batch: one forward pass, and the backward passes from it."""

    def __init__(
        self,
        probe: AskedModel,
        batch: Batch,
        needs: frozenset[str],
        chances: torch.Tensor,
        weights: Weights,
        loop: bool,
    ) -> None:
        self.probe, self.batch, self.needs, self.chances = probe, batch, needs, chances
        self.weights, self.loop = weights, loop
        self.mask = batch["attention_mask"].bool()
        self.gates: dict[int, torch.Tensor] = {}
        self.sums = GradientAccumulators(probe.depth, self.mask, needs)
        self.sampling = False

    def run(self) -> Observation:
        needs, found = self.needs, {}
        with ExitStack() as stack:
            tap = self._tap(stack)
            with ExitStack() as forward:
                model = self.probe.model
                states = forward.enter_context(model.observe()) if "states" in needs else None
                looked = forward.enter_context(attention_probabilities(model)) if "attention" in needs else None
                if "gate_gradients" in needs:
                    self._watch_gates(forward)
                if needs:
                    forward.enter_context(fast_linear_maps())
                logits = self.probe.logits(self.batch)
            losses = F.cross_entropy(logits, self.batch["targets"], reduction="none")
            if needs & BACKWARD:
                tap.backward(losses.sum(), again=bool(needs & SAMPLED))
                found = self.sums.take()
            if needs & SAMPLED:
                found["sampled_gradient_norms"] = self._sampled(tap, logits)
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
                places=self.batch.get("places"),
                **found,
            )

    def _tap(self, stack: ExitStack) -> GradientTap | LoopTap | _Plain:
        if not self.needs & (BACKWARD | SAMPLED):
            stack.enter_context(torch.no_grad())
            return _Plain()
        stack.enter_context(torch.enable_grad())
        if not self.needs & (WEIGHTS | SAMPLED):
            stack.enter_context(frozen(self.probe.model, self.weights))
            return _Plain()
        if self.loop:
            return stack.enter_context(looped(self.probe.model, self._visit, self.weights))
        return stack.enter_context(tapped(self.probe.model, self._visit, self.weights))

    def _visit(self, layers: tuple[int, ...], use: ParameterGradient, matrix: torch.Tensor | None) -> None:
        self.sums.visit(layers, use, matrix)

    def _sampled(self, tap: GradientTap | LoopTap | _Plain, logits: torch.Tensor) -> torch.Tensor:
        self.sampling, self.sums = True, GradientAccumulators(self.probe.depth, self.mask, {"gradient_norms"})
        rows = []
        for number, labels in enumerate(drawn(logits, self.chances), start=1):
            tap.backward(F.cross_entropy(logits, labels, reduction="sum"), again=number < len(self.chances))
            rows.append(self.sums.take()["gradient_norms"])
        return torch.stack(rows, dim=2)

    def _watch_gates(self, stack: ExitStack) -> None:
        """∂ℓ/∂g at g = 1 is the gradient that arrives at the block's output, times what the block added."""

        def hook(index: int) -> Any:
            def after(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
                out = block_output(output)
                added = (out.detach() - block_input(args, kwargs).detach()).flatten(1)

                def arrived(gradient: torch.Tensor) -> None:
                    if not self.sampling:
                        self.gates[index] = torch.linalg.vecdot(gradient.reshape(added.shape), added).double()

                out.register_hook(arrived)

            return after

        for index, layer in enumerate(self.probe.model.layers):
            stack.callback(layer.register_forward_hook(hook(index), with_kwargs=True).remove)


class _Plain:
    """A backward pass that nothing listens to but the gates."""

    def backward(self, total: torch.Tensor, *, again: bool = False) -> None:
        total.backward(retain_graph=again)


def drawn(logits: torch.Tensor, chances: torch.Tensor) -> torch.Tensor:
    """Labels drawn from the model's own predictions (draws, examples), by the inverse of the distribution function.

    Args:
        logits: (examples, items).
        chances: Uniform on [0, 1) (draws, examples), on the CPU: a seed draws the same labels on every device.
    """
    reached = logits.detach().softmax(dim=1).cpu().double().cumsum(dim=1)
    labels = torch.searchsorted(reached, (chances * reached[:, -1]).T.contiguous(), right=True)
    return labels.clamp_(max=logits.shape[1] - 1).T.to(logits.device)


_HOLD: WeakKeyDictionary[torch.nn.Module, bool] = WeakKeyDictionary()


def one_at_a_time(probe: AskedModel, weights: Weights) -> bool:
    """Whether weight gradients have to be taken by autograd, one example at a time; if so, the reporter is told why.

    They have to where the hooks do not find, for two examples together, what autograd finds for each alone: nothing
    else would tell of a module that is called in an unusual way. Seen once for each model.
    """
    assert_plain_weights(probe.model)
    model = probe.model.model
    if model not in _HOLD:
        _HOLD[model] = weights.unknown is None and _agree(probe, weights)
    if not _HOLD[model] and probe.report is not None:
        kind = "some module" if weights.unknown is None else type(weights.unknown).__name__
        probe.report.note(f"weight gradients are taken one example at a time, for hooks cannot follow {kind}: slow")
    return not _HOLD[model]


def _agree(probe: AskedModel, weights: Weights) -> bool:
    shortest_and_longest = sorted({int(probe.order[0]), int(probe.order[-1])})
    batch = probe.batch_of(shortest_and_longest)
    needs, none = frozenset({"gradient_norms"}), torch.empty(0, len(batch["targets"]))
    try:
        together = _Pass(probe, batch, needs, none, weights, loop=False).run()
    except (ModelError, RuntimeError):  # the latter from torch, where a module changes in place what a hook looks at
        return False
    ones = [{name: value[row : row + 1] for name, value in batch.items()} for row in range(len(batch["targets"]))]
    alone = [_Pass(probe, one, needs, none, weights, loop=True).run().gradient_norms for one in ones]
    found, expected = together.gradient_norms, torch.cat([norms for norms in alone if norms is not None])
    return found is not None and torch.allclose(found, expected, rtol=0.01, atol=1e-12)
