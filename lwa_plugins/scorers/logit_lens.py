"""`logit-lens`: how much better the answer gets from one layer to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from lwa_core import setting
from lwa_plugins.scorers._values import UNITS, UTILITIES, UTILITY_HELP, utilities

if TYPE_CHECKING:
    import torch

    from lwa_core import Probe


@attrs.frozen
class LogitLens:
    """v(0…l) − v(0…l−1): the gain in utility when final norm and head read the stack one layer later.

    The head reads every state as it reads the last one (nostalgebraist 2020, interpreting GPT: the logit lens), for
    which the states in between were not made: what a layer prepares for later ones counts as nothing, and its figure
    can be negative. A lens that is trained for each layer reads them better (Belrose et al. 2023, Eliciting latent
    predictions from transformers with the tuned lens). In every row the gains add up to v(all) − v(none).
    """

    utility: str = setting("", help=UTILITY_HELP, choices=UTILITIES)

    @property
    def unit(self) -> str:
        """Of the scores."""
        return UNITS[self.utility]

    def score(self, probe: Probe) -> torch.Tensor:
        import torch

        prefixes = [tuple(range(length)) for length in range(probe.depth + 1)]
        values = torch.from_numpy(utilities(probe, prefixes, self.utility))  # (layers + 1, examples)
        return values.diff(dim=0).T
