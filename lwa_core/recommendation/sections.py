"""The table of a recipe that says what the final evaluation measures."""

from __future__ import annotations

import attrs

from lwa_core.data.sections import Measurement
from lwa_core.settings import setting


@attrs.frozen
class Evaluate(Measurement):
    """What the final evaluation measures, on test users only."""

    k: tuple[int, ...] = setting((5, 10, 20), help="cut-offs of NDCG@k, recall@k and coverage@k", minimum=1)
    sampled_negatives: int = setting(
        0,
        help="rank each target among this many unseen items, too, drawn with the seed, as some papers do; such figures "
        "order models otherwise than ranks in the whole catalogue; 0 leaves it out",
        minimum=0,
    )
    filter_seen: bool = setting(True, help="never recommend an item of the history")
