"""`true-fisher`: the trace of the Fisher information, with labels drawn from the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from lwa_core.settings import setting

if TYPE_CHECKING:
    import torch

    from lwa_core.modeling.observation import Observation
    from lwa_core.modeling.probe import Probe


@attrs.frozen
class TrueFisher:
    """(1/N) Σ_n E_{y ~ p(y|x_n)} ‖∇_θl log p(y|x_n)‖², the expectation over labels that the model itself draws.

    A property of the model and the histories alone (Martens 2020, section 5). It equals the empirical trace in
    expectation where the model is right about the next item; the gap to it is the misfit, told as `empirical` over
    `sampled`. Told besides: the spread over users, which more examples do not shrink, and the standard error, which
    they do. One more backward pass for every drawing.
    """

    observes: ClassVar[frozenset[str]] = frozenset({"gradient_norms", "sampled_gradient_norms"})
    unit: ClassVar[str] = "nats²"

    draws: int = setting(1, help="drawings of a label for each example", minimum=1)

    def observe(self, seen: Observation) -> torch.Tensor:
        import torch

        assert seen.gradient_norms is not None  # both were asked for above
        assert seen.sampled_gradient_norms is not None
        sampled = seen.sampled_gradient_norms[..., : self.draws].mean(dim=2)
        return torch.stack([sampled, seen.gradient_norms], dim=2)

    def finish(self, rows: torch.Tensor, probe: Probe) -> torch.Tensor:
        sampled, empirical = rows.unbind(dim=2)
        spread = sampled.std(dim=0)
        probe.tell("sampled", sampled.mean(dim=0).tolist())
        probe.tell("empirical", empirical.mean(dim=0).tolist())
        probe.tell("misfit", (empirical.mean(dim=0) / sampled.mean(dim=0).clamp(min=1e-300)).tolist())
        probe.tell("spread_over_users", spread.tolist())
        probe.tell("standard_error", (spread / len(sampled) ** 0.5).tolist())
        return sampled
