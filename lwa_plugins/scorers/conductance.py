"""`conductance`: what each layer's branch adds to the answer while the input comes in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from lwa_core import setting
from lwa_plugins.scorers._values import relative

if TYPE_CHECKING:
    import torch

    from lwa_core import Batch, Probe


@attrs.frozen
class Conductance:
    """∫₀¹ ∂F/∂h_L · ∂b_l/∂α dα, b_l = block(h_l) − h_l, along a straight path from a baseline input to the input.

    F is the log-probability of the target, h_L the last state before the final norm, and the path runs through the
    first block's input. This is conductance (Dhamdhere et al. 2019, How important is a neuron, equation 2) by the
    direct path from the branch to h_L, so that it is additive: layers and embedding together make F(x) − F(baseline),
    in every row. It tells how much that sum misses, and the embedding's part.

    The conductance of a block's whole output, which is what layer conductance usually is, ranks nothing here: every
    state of a residual stream carries all that the answer depends on, so by completeness it is F(x) − F(baseline) for
    every layer, and where figures differ they are errors of the quadrature.

    The integral is a sum over `steps` stretches of the path, each with the mean of the two gradients at its ends times
    what the branch changed between them: one forward pass a step, for all layers together, and no backward pass
    through them. A baseline is an input like no other, and with another one the scores are others.
    """

    unit: ClassVar[str] = "nats"

    steps: int = setting(32, help="stretches that the path is cut into", minimum=1)
    baseline: str = setting(
        "mean",
        help="where the path starts: the mean of the first block's inputs over all real positions, or zero "
        "(where norms are singular: it takes many steps)",
        choices=("mean", "zero"),
    )

    def score(self, probe: Probe) -> torch.Tensor:
        import torch

        start = _mean_input(probe) if self.baseline == "mean" else None
        rows, changes = [], []
        for batch in probe.batches():
            row, change = self._batch(probe, batch, start)
            rows.append(row)
            changes.append(change)
        probe.count_passes(self.steps + 1 + (self.baseline == "mean"))
        table, change = torch.cat(rows), torch.cat(changes)  # (examples, 1 + layers), (examples,)
        missed = float((table.sum(dim=1) - change).abs().mean())
        probe.tell("embedding", float(table[:, 0].mean()))
        probe.tell("input_less_baseline", float(change.mean()))
        probe.tell("completeness_error", relative(missed, float(change.abs().mean())))
        return table[torch.from_numpy(probe.order.argsort(kind="stable")), 1:]

    def _batch(self, probe: Probe, batch: Batch, start: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Parts of embedding and layers (examples, 1 + layers), and F(x) − F(baseline) (examples,), both double."""
        import torch

        places = torch.linspace(0, 1, self.steps + 1, dtype=torch.double).tolist()
        points = _points(probe, batch, start, places)
        before = first = next(points)
        parts = torch.zeros(len(batch["targets"]), probe.depth + 1, dtype=torch.double)
        for point in points:
            gradient = (before.gradient + point.gradient) / 2
            for place, (old, new) in enumerate(zip(before.terms, point.terms, strict=True)):
                parts[:, place] += (gradient * (new - old)).flatten(1).sum(dim=1, dtype=torch.double).cpu()
            before = point
        return parts, (before.value - first.value).cpu()


@attrs.frozen(eq=False)
class _Point:
    """What one place of the path shows.

    Args:
        value: F (examples,), double.
        gradient: ∂F/∂h_L (examples, time, width).
        terms: What h_L is the sum of: the first block's input, and each branch (examples, time, width).
    """

    value: torch.Tensor
    gradient: torch.Tensor
    terms: list[torch.Tensor]


def _points(probe: Probe, batch: Batch, start: torch.Tensor | None, places: list[float]) -> Iterator[_Point]:
    """The places of a path from `start` (width,), zeros where None, to the first block's input."""
    import torch
    import torch.nn.functional as F

    from lwa_core.modeling import block_input, block_output, fast_linear_maps, with_output

    terms: list[torch.Tensor] = []
    place = 1.0

    def enter(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = block_input(args, kwargs)
        base = torch.zeros_like(given) if start is None else start.expand_as(given)
        state = torch.lerp(base, given, place)
        terms[:] = [state]
        return ((state, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": state})

    def leave(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        terms.append(block_output(output) - block_input(args, kwargs))

    last: list[torch.Tensor] = []

    def leaf(_: Any, __: Any, output: Any) -> Any:
        last[:] = [block_output(output).detach().requires_grad_()]
        return with_output(output, last[0])

    layers = probe.model.layers
    with ExitStack() as stack:
        # With fixed weights the graph begins at h_L: the passes through the layers keep nothing.
        for weight in [weight for weight in probe.model.model.parameters() if weight.requires_grad]:
            weight.requires_grad_(False)
            stack.callback(weight.requires_grad_, True)
        stack.enter_context(torch.enable_grad())
        stack.enter_context(fast_linear_maps())
        stack.callback(layers[0].register_forward_pre_hook(enter, with_kwargs=True).remove)
        for layer in layers:
            stack.callback(layer.register_forward_hook(leave, with_kwargs=True).remove)
        stack.callback(layers[-1].register_forward_hook(leaf).remove)
        for place in places:  # noqa: B007 -- `enter` reads it
            value = -F.cross_entropy(probe.logits(batch), batch["targets"], reduction="none")
            (gradient,) = torch.autograd.grad(value.sum(), last)
            yield _Point(value.detach().double(), gradient, list(terms))


def _mean_input(probe: Probe) -> torch.Tensor:
    """Mean of the first block's inputs over all real positions (width,)."""
    import torch

    total, count = torch.zeros((), dtype=torch.double), 0
    for batch in probe.batches():
        with torch.no_grad(), probe.model.observe() as states:
            probe.logits(batch)
        real = states[0][batch["attention_mask"].bool()]  # (positions, width)
        total = total.to(real.device) + real.sum(dim=0, dtype=torch.double)
        count += len(real)
    return (total / count).to(real.dtype)
