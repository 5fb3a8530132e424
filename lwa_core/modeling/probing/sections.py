"""The table of a recipe that says what scorers and selectors look at."""

from __future__ import annotations

import attrs

from lwa_core.settings import setting


@attrs.frozen
class Calibration:
    """What scorers and selectors look at."""

    examples: int = setting(1024, help="at most this many calibration examples, drawn with the seed", minimum=2)
    utility: str = setting(
        "loss",
        help="how good the model is on one example: minus its cross-entropy, minus how far its answer is from the full "
        "model's (Kullback-Leibler), minus its cross-entropy at the best temperature of each set of layers, or its "
        "NDCG@k as the report has it",
        choices=("loss", "kl", "scaled-loss", "ndcg"),
    )
    repair: str = setting(
        "none",
        help="sets of layers are judged as cut, or with their gaps closed by a map of this form, fitted on the full "
        "model's states: for a cut that `patch` is to repair",
        choices=("none", "scalar", "diagonal", "least-squares"),
    )
    batch: int = setting(64, help="examples in one micro-batch", minimum=1)
