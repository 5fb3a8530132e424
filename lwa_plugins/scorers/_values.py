"""What the scorers share that ask for the utility of layer subsets."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lwa_core import Probe

UTILITIES = ("", "loss", "kl", "scaled-loss", "ndcg")
UTILITY_HELP = (
    "what a subset of layers is worth: minus the loss, minus the divergence from the full model (kl), minus the loss "
    "at the set's own best temperature (scaled-loss), or the report's NDCG@k (ndcg); "
    "the recipe's calibration.utility where left out"
)
UNITS = {"": "utility", "loss": "nats", "kl": "nats", "scaled-loss": "nats", "ndcg": "NDCG"}


def utilities(probe: Probe, keeps: Sequence[Sequence[int]], utility: str) -> NDArray[np.float64]:
    """Utility of every calibration example under every subset of layers (subsets, examples), all of them finite.

    Args:
        probe: Who is asked.
        keeps: The subsets.
        utility: Which one; empty: the probe's own.

    Raises:
        LwaError: Some are not, so that there are no differences to take.
    """
    import numpy as np

    from lwa_core import LwaError

    values = probe.evaluate(keeps, utility or None)
    lost = np.isinf(values).sum(axis=1)
    if lost.any():
        worst = int(lost.argmax())
        kept = ", ".join(map(str, keeps[worst])) or "none"
        some = f"{int((lost > 0).sum())} of {len(keeps)} sets of layers that are asked about give answers that are not "
        said = f"{some}finite; the model with just layers {kept}: on {lost[worst]} of {probe.examples} examples"
        raise LwaError(
            said, "use greedy-order, which takes no differences, or a model in float32 or of a lower learning rate"
        )
    return values


def mean_utilities(probe: Probe, keeps: Sequence[Sequence[int]], utility: str = "") -> list[float]:
    """Mean utility of each subset of layers; -inf where some answer is not finite, whatever the utility makes of it."""
    means = probe.evaluate(keeps, utility or None).mean(axis=1).tolist()
    lost = probe.unanswered(keeps).tolist()
    return [-inf if count else mean for mean, count in zip(means, lost, strict=True)]


def finite(value: float) -> float | None:
    """A value, JSON-ready: None for an infinite one."""
    return value if isfinite(value) else None


def by_example(weights: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores of every example alone (examples, layers), that weigh subsets (layers, subsets) of these values.

    Args:
        weights: What each subset counts for each layer (layers, subsets).
        values: Utilities (subsets, examples).
    """
    import numpy as np

    return np.asarray((weights @ values).T, dtype=np.float64)


def tell_sampling_of_examples(probe: Probe, alone: NDArray[np.float64]) -> None:
    """Tell how far other examples could move scores whose rows are drawings over the same examples.

    The standard error of the table holds the chance of the drawings alone. Both together are the root of the sum of
    their squares.

    Args:
        probe: Of the score.
        alone: The scores of each example alone, of which the scores are the means (examples, layers).
    """
    import numpy as np

    if len(alone) > 1:
        error = alone.std(axis=0, ddof=1) / np.sqrt(len(alone))
        probe.tell("standard_error_over_examples", error.tolist())


def tell_sum(probe: Probe, scores: NDArray[np.float64], full: float, none: float) -> None:
    """Tell what the scores add up to, and what all layers together add to the utility: equal for a Shapley value."""
    probe.tell("sum", float(scores.sum()))
    probe.tell("all_layers_together", float(full - none))


def relative(error: float, whole: float) -> float | None:
    """An error as a share of what it is an error of, or None where that is 0."""
    return None if whole == 0 else float(abs(error / whole))


def assert_fewer(keep: int, depth: int) -> None:
    """Raise LwaError where `keep` layers are no choice among `depth`."""
    from lwa_core import LwaError

    if keep >= depth:
        raise LwaError(f"no {keep} of {depth} layers are to be told from the others", "lower keep")


def without(layer: int, layers: Sequence[Any]) -> tuple[Any, ...]:
    """All of `layers` but one."""
    return tuple(other for other in layers if other != layer)
