"""Whether the test examples of a cell tell its entries apart at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from lwa_core.statistics.subsets import Kept, row_of

CONFIDENCE = 0.95


def told_apart(table: NDArray[np.float64], chosen: Mapping[str, Sequence[Kept]]) -> dict[str, int]:
    """How many pairs of entries there are, and between how many of them the test examples show a difference.

    A pair is told apart where the paired Student-t interval of the difference of their mean utilities, over all sizes,
    leaves 0 out. Its confidence is raised for the number of pairs (Bonferroni), so that entries that are all alike are
    told apart in at most one cell of twenty.

    Args:
        table: Utility of every test example under every subset (2^depth, examples).
        chosen: By entry its sets, one for each size.
    """
    from scipy.special import stdtrit

    utilities = {name: np.mean([table[row_of(kept)] for kept in sets], axis=0) for name, sets in chosen.items()}
    pairs = list(combinations(utilities, 2))
    examples = table.shape[1]
    if examples < 2 or not pairs:
        return {"pairs": len(pairs), "apart": 0}
    most = float(stdtrit(examples - 1, 1 - (1 - CONFIDENCE) / (2 * len(pairs)))) / np.sqrt(examples)
    apart = 0
    for one, other in pairs:
        difference = utilities[one] - utilities[other]
        apart += bool(abs(difference.mean()) > most * difference.std(ddof=1))
    return {"pairs": len(pairs), "apart": apart}
