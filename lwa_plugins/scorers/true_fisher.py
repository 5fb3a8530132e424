"""`true-fisher`: the trace of the Fisher information, with labels drawn from the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from lwa_core import setting

if TYPE_CHECKING:
    import torch

    from lwa_core import Observation, Probe


@attrs.frozen
class TrueFisher:
    """(1/N) Σ_n E_{y ~ p(y|x_n)} ‖∇_θl log p(y|x_n)‖², the expectation over labels that the model itself draws.

    A property of the model and the histories alone (Martens 2020, section 5). Where the model is right about the next
    item, it equals the empirical trace in expectation; the `gap` between them, told with its standard error over
    examples, and their ratio `misfit` say how far it is from that (Kunstner, Hennig & Balles 2019). Told besides: how
    far users differ (`sd_over_examples`, which more examples do not shrink; where `draws` is 2 or more,
    `sd_between_examples` is freed of the drawing's own spread), and how sure the mean is (`standard_error`, which they
    do shrink). One more backward pass for every drawing.
    """

    observes: ClassVar[frozenset[str]] = frozenset({"gradient_norms", "sampled_gradient_norms"})
    unit: ClassVar[str] = "nats²"

    draws: int = setting(1, help="drawings of a label for each example; each is another backward pass", minimum=1)

    def observe(self, seen: Observation) -> torch.Tensor:
        import torch

        assert seen.gradient_norms is not None  # both were asked for above
        assert seen.sampled_gradient_norms is not None
        return torch.cat([seen.gradient_norms[..., None], seen.sampled_gradient_norms[..., : self.draws]], dim=2)

    def finish(self, rows: torch.Tensor, probe: Probe) -> torch.Tensor:
        empirical, drawn = rows[..., 0], rows[..., 1:]
        sampled = drawn.mean(dim=2)  # (examples, layers)
        gap = empirical - sampled
        probe.tell("sampled", sampled.mean(dim=0).tolist())
        probe.tell("empirical", empirical.mean(dim=0).tolist())
        probe.tell("misfit", (empirical.mean(dim=0) / sampled.mean(dim=0).clamp_min(1e-300)).tolist())
        probe.tell("gap", gap.mean(dim=0).tolist())
        if len(rows) > 1:
            root = len(rows) ** 0.5
            probe.tell("gap_standard_error", (gap.std(dim=0) / root).tolist())
            probe.tell("sd_over_examples", sampled.std(dim=0).tolist())
            probe.tell("standard_error", (sampled.std(dim=0) / root).tolist())
            if self.draws > 1:
                within = drawn.var(dim=2).mean(dim=0) / self.draws
                probe.tell("sd_between_examples", (sampled.var(dim=0) - within).clamp_min(0).sqrt().tolist())
        return sampled
