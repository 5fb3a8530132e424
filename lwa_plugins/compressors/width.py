"""`width`: fewer attention heads and feed-forward units in every layer, by what the loss says of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from lwa_core import CompressionJob, ModelError, setting
from lwa_plugins.compressors._windows import batches, drawn

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from lwa_core import Batch, History, LayeredModel
    from lwa_core.modeling import Units

BY = ("gate-fisher", "gate-taylor", "activation", "weight-magnitude", "random")
HELD_OUT = 5
"""Every so many windows one says whether, and with which ridge, a layer is fitted again."""
RIDGES = (1e-6, 1e-4, 1e-2, 1e-1)
"""Shares of the mean square of an input."""
MOST_INPUTS = 8192
"""Inputs of a projection that is fitted again: their products take 0.5 GB in float64, and time with their cube."""
STEP = 8
"""Units stay in multiples of this where there are enough of them."""


@attrs.frozen
class Width:
    """A narrower student: in each layer the heads and feed-forward units with the lowest scores are taken out.

    Every layer keeps as many, which a configuration can say, so that the student is a plain checkpoint. The scores are
    those of gates on the units: the mean squared derivative of the loss of an example (`gate-fisher`) or its mean
    absolute value (`gate-taylor`); or the mean square of what a unit gives times that of its weights (`activation`),
    the weights alone, or drawn numbers. What the projection behind the units lost is then fitted again to what it gave,
    by least squares in float64, where that is nearer on windows held out.
    """

    feed_forward: float = setting(0.5, help="share of the feed-forward units that stay", above=0, maximum=1)
    heads: float = setting(
        1.0, help="share of the attention heads that stay (with shared keys and values: of those)", above=0, maximum=1
    )
    by: str = setting("gate-fisher", help="what says how much a unit matters", choices=BY)
    refit: bool = setting(
        True, help="fit what is left to what the whole layer gave, by least squares; nothing is trained"
    )
    examples: int = setting(1024, help="training windows that are looked at", minimum=2)
    batch: int = setting(32, help="windows at a time", minimum=1)

    def compress(self, job: CompressionJob) -> torch.nn.Module:
        from lwa_core.modeling import narrow, units_of

        shares = {"feed-forward": self.feed_forward, "heads": self.heads}
        wanted = [kind for kind, share in shares.items() if share < 1]
        if not wanted:
            raise ModelError("`width` is asked to keep everything", "set feed_forward or heads below 1")
        student = job.cut()
        if student.model is not student.base:
            raise ModelError("a model with adapters cannot be made narrower", "give `width` first")
        student.model.eval()
        windows = drawn(job, self.examples, "width")
        found = {kind: units_of(student, kind) for kind in wanted}
        scores = self._scores(job, student, windows, [units for own in found.values() for units in own if units])
        kept: dict[str, list[list[int]]] = {}
        for kind, layers in found.items():
            kept[kind] = [
                [] if units is None else _best(scores[id(units)], _count(shares[kind], units.count)) for units in layers
            ]
            whole = next(units.count for units in layers if units is not None)
            job.report.note(f"{kind}: {max(map(len, kept[kind]))} of {whole} stay in every layer, by {self.by}")
        # From the first layer to the last: each is fitted on what the narrowed ones before it give.
        for place in range(student.depth):
            for kind in ("heads", "feed-forward"):
                units = found[kind][place] if kind in found else None
                if units is not None:
                    self._take_out(job, student, windows, units, kept[kind][place], place)
        return narrow(student, kept).model

    def _scores(
        self, job: CompressionJob, student: LayeredModel, windows: Sequence[History], units: Sequence[Units]
    ) -> dict[int, NDArray[np.float64]]:
        """By the identity of the units, how much each of them matters."""
        if self.by == "random":
            rng = np.random.default_rng(job.seed)
            return {id(each): rng.permutation(each.count).astype(np.float64) for each in units}
        if self.by.startswith("gate"):
            return self._gate_scores(job, student, windows, units)
        columns = {id(each): each.weight.detach().double().square().sum(dim=0).cpu().numpy() for each in units}
        if self.by == "activation":
            given = self._mean_squares(job, student, windows, units)
            columns = {name: columns[name] * given[name] for name in columns}
        return {id(each): columns[id(each)].reshape(each.count, each.size).sum(axis=1) for each in units}

    def _mean_squares(
        self, job: CompressionJob, student: LayeredModel, windows: Sequence[History], units: Sequence[Units]
    ) -> dict[int, NDArray[np.float64]]:
        """By the identity of the units, the mean square of each input of their projection."""
        sums = {id(each): np.zeros(each.count * each.size) for each in units}
        positions = 0
        for batch in batches(job, windows, self.batch):
            with _seen(units) as inputs:
                _ask(job, student, batch)
            real = batch["attention_mask"].bool()
            positions += int(real.sum())
            for each in units:
                sums[id(each)] += inputs[id(each)][real].double().square().sum(dim=0).cpu().numpy()
        return {name: total / positions for name, total in sums.items()}

    def _gate_scores(
        self, job: CompressionJob, student: LayeredModel, windows: Sequence[History], units: Sequence[Units]
    ) -> dict[int, NDArray[np.float64]]:
        import torch

        sums = {id(each): np.zeros(each.count) for each in units}
        for batch in batches(job, windows, self.batch):
            with torch.enable_grad(), _gated(units, len(batch["input_ids"])) as gates:
                losses = job.subject.loss(student.model, batch)
                found = torch.autograd.grad(losses.mean.sum(), list(gates.values()), allow_unused=True)
            for name, gradient in zip(gates, found, strict=True):
                if gradient is not None:
                    own = gradient.detach().double().cpu()
                    sums[name] += (own.square() if self.by == "gate-fisher" else own.abs()).sum(dim=0).numpy()
        return {name: total / len(windows) for name, total in sums.items()}

    def _take_out(
        self,
        job: CompressionJob,
        student: LayeredModel,
        windows: Sequence[History],
        units: Units,
        kept: Sequence[int],
        place: int,
    ) -> None:
        """Put zeros where the projection takes the other units, and fit what is left to what all gave."""
        import torch

        stay = units.columns(kept)
        whole = units.weight.detach().double().cpu()
        new = torch.zeros_like(whole)
        new[:, stay] = whole[:, stay]
        if self.refit and units.count * units.size <= MOST_INPUTS:
            fitted, left = self._fitted(job, student, windows, units, stay, whole)
            new[:, stay] = fitted
            job.report.progress(place + 1, student.depth, f"{units.path}: {left:.0%} of its squares are lost")
        with torch.no_grad():
            units.weight.copy_(new.to(units.weight.device))

    def _fitted(
        self,
        job: CompressionJob,
        student: LayeredModel,
        windows: Sequence[History],
        units: Units,
        stay: torch.Tensor,
        whole: torch.Tensor,
    ) -> tuple[torch.Tensor, float]:
        """Weights for the inputs that stay, and the share of the squares that they lose on windows held out."""
        import torch

        inputs = units.count * units.size
        moments = [torch.zeros(inputs, inputs, dtype=torch.float64) for _ in range(2)]
        for number, batch in enumerate(batches(job, windows, self.batch)):
            with _seen([units]) as seen:
                _ask(job, student, batch)
            given = seen[id(units)][batch["attention_mask"].bool()].double().cpu()
            moments[number % HELD_OUT == HELD_OUT - 1] += given.T @ given
        if not moments[1].any():
            moments[1] = moments[0]

        def lost(weight: torch.Tensor) -> float:
            change = whole.clone()
            change[:, stay] -= weight
            return float(((change @ moments[1]) * change).sum())

        rows, own = moments[0][:, stay], moments[0][stay][:, stay]
        unit = torch.eye(len(stay), dtype=torch.float64) * float(own.diagonal().mean().clamp(min=1e-30))
        offers = [whole[:, stay]]
        for ridge in RIDGES:
            # Held towards the weights as they were: the ridge is on the change.
            change = torch.linalg.solve(own + ridge * unit, (whole @ rows - whole[:, stay] @ own).T).T
            offers.append(whole[:, stay] + change)
        best = min(offers, key=lost)
        return best, lost(best) / max(lost(torch.zeros_like(best)), 1e-300)


def _ask(job: CompressionJob, student: LayeredModel, batch: Batch) -> None:
    import torch

    with torch.no_grad():
        job.subject.encode(student.model, batch)


def _count(share: float, whole: int) -> int:
    count = max(1, round(share * whole))
    return max(STEP, count // STEP * STEP) if whole >= 8 * STEP else count


def _best(scores: NDArray[np.float64], count: int) -> list[int]:
    """The units with the highest scores, in their order; of equals the first."""
    return sorted(np.argsort(-scores, kind="stable")[:count].tolist())


@contextmanager
def _seen(units: Sequence[Units]) -> Iterator[dict[int, torch.Tensor]]:
    """What the projections of units are called with in the next pass."""
    found: dict[int, torch.Tensor] = {}
    with ExitStack() as hooks:
        for each in units:

            def note(_: Any, args: tuple[torch.Tensor, ...], name: int = id(each)) -> None:
                found[name] = args[0]

            hooks.callback(each.projection.register_forward_pre_hook(note).remove)
        yield found


@contextmanager
def _gated(units: Sequence[Units], examples: int) -> Iterator[dict[int, torch.Tensor]]:
    """Gates of 1 on what the units give, one for each unit and example (examples, units)."""
    import torch

    gates: dict[int, torch.Tensor] = {}
    with ExitStack() as hooks:
        for each in units:
            weight = each.projection.weight
            gate = torch.ones(examples, each.count, dtype=weight.dtype, device=weight.device, requires_grad=True)
            gates[id(each)] = gate

            def close(
                _: Any, args: tuple[torch.Tensor, ...], gate: torch.Tensor = gate, size: int = each.size
            ) -> tuple[torch.Tensor, ...]:
                return (args[0] * gate.repeat_interleave(size, dim=1)[:, None], *args[1:])

            hooks.callback(each.projection.register_forward_pre_hook(close).remove)
        yield gates
