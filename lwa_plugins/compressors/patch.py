"""`patch`: close the gaps that a cut has left with linear maps, and train nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from lwa_core import CompressionJob, ModelError, setting
from lwa_plugins.compressors._windows import batches, drawn

if TYPE_CHECKING:
    import torch

    from lwa_core import History
    from lwa_core.modeling import Fit, LayeredModel, Moments
    from lwa_plugins.compressors._branches import Branch

FORMS = ("scalar", "diagonal", "least-squares")
HELD_OUT = 5
"""Every so many windows one says which ridge is best."""


@attrs.frozen
class Patch:
    """A repair of the student by least squares: what the layers of each gap did to the states, as one linear map.

    Removing layers leaves states behind the gap that have another size and direction than the next layer was trained
    on. For every gap, from the first to the last, a map from the student's states before it (of the student as cut and
    repaired so far) to the teacher's states behind it is fitted in float64 on windows of the training part, held
    towards doing nothing by a ridge that windows held out choose; where no map is better than none on those, none is
    put in.
    """

    form: str = setting(
        "least-squares", help="a factor for all states, one for each coordinate, or any matrix", choices=FORMS
    )
    on: str = setting(
        "states",
        help="`states`: a small linear layer in the gap; `branch`: folded into the last projection of the layer before "
        "it, so that a plain checkpoint is left",
        choices=("states", "branch"),
    )
    examples: int = setting(1024, help="training windows that the maps are fitted on", minimum=2)
    batch: int = setting(32, help="windows at a time", minimum=1)

    def compress(self, job: CompressionJob) -> torch.nn.Module:
        from lwa_core.modeling import maps_of

        student = job.cut()
        if maps_of(student):
            raise ModelError("the student has maps between its layers already", "give `patch` once")
        if self.on == "branch" and student.model is not student.base:
            raise ModelError("a map cannot be folded into weights with an adapter beside them", "give `patch` first")
        windows = drawn(job, self.examples, "patch")
        gaps = _gaps(job.kept, job.teacher.depth)
        student.model.eval()
        for done, (boundary, wanted) in enumerate(gaps):
            job.report.progress(done, len(gaps), "gaps")
            if self.on == "branch" and boundary == 0:
                job.report.note("before the first layer that stays there is none that a map could be folded into")
                continue
            self._close(job, student, windows, boundary, wanted)
        return student.model

    def _close(
        self, job: CompressionJob, student: LayeredModel, windows: Sequence[History], boundary: int, wanted: int
    ) -> None:
        import torch

        from lwa_core.modeling import fit

        branch = self._branch(job, student, windows, boundary)
        parts: list[Moments] = []
        with torch.no_grad():
            for held_out in (False, True):
                seen = [w for place, w in enumerate(windows) if (place % HELD_OUT == HELD_OUT - 1) is held_out]
                parts.append(self._moments(job, student, seen or windows, boundary, wanted, branch))
        biased = branch is None or branch.projection.bias is not None
        found = fit(parts[0], parts[1], self.form, intercept=biased and self.form != "scalar")
        where = f"before layer {job.kept[boundary]}" if boundary < len(job.kept) else "behind the last layer that stays"
        job.report.note(f"gap {where}: a map leaves {found.left:.0%} of its squares on windows held out")
        if found.left < 1:
            self._put(student, boundary, branch, found)

    def _branch(
        self, job: CompressionJob, student: LayeredModel, windows: Sequence[History], boundary: int
    ) -> Branch | None:
        if self.on == "states":
            return None
        import torch

        from lwa_plugins.compressors._branches import last_projection

        batch = next(batches(job, windows, 4))
        with torch.no_grad():
            return last_projection(
                student.layers[boundary - 1],
                lambda: job.subject.encode(student.model, batch),
                f"layer {job.kept[boundary - 1]}",
            )

    def _moments(
        self,
        job: CompressionJob,
        student: LayeredModel,
        windows: Sequence[History],
        boundary: int,
        wanted: int,
        branch: Branch | None,
    ) -> Moments:

        from lwa_core.modeling import Moments
        from lwa_plugins.compressors._branches import seen

        moments: Moments | None = None
        for batch in batches(job, windows, self.batch):
            real = batch["attention_mask"].bool()
            with job.teacher.observe() as taught:
                job.subject.encode(job.teacher.model, batch)
            gates = None
            if branch is None:
                with student.observe() as states:
                    job.subject.encode(student.model, batch)
                before = after = states[boundary]
            else:
                with seen(branch.projection, branch.block) as given:
                    job.subject.encode(student.model, batch)
                before, after = given
                if branch.gated:
                    with seen(branch.projection, branch.block, 1.0) as given:
                        job.subject.encode(student.model, batch)
                    gates = (given[1] - after)[real]
            moments = moments or Moments.empty(before.shape[-1], gated=gates is not None)
            moments.add(before[real], (taught[wanted] - after)[real], gates)
        assert moments is not None  # there is a window
        return moments

    def _put(self, student: LayeredModel, boundary: int, branch: Branch | None, found: Fit) -> None:
        from lwa_core.modeling import put_map

        if branch is None:
            put_map(student, boundary, found.as_map(self.form))
        else:
            branch.fold(found.weight, found.bias)


def _gaps(kept: Sequence[int], depth: int) -> list[tuple[int, int]]:
    """Boundaries of the student that layers were removed at, each with the teacher's boundary behind them."""
    behind = [*kept, depth]
    before = [0, *(layer + 1 for layer in kept)]
    return [(place, wanted) for place, (wanted, last) in enumerate(zip(behind, before, strict=True)) if wanted > last]
