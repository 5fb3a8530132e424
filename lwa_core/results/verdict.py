"""What an interval shows, in words: every sentence that puts one thing before another takes its words from here."""

from __future__ import annotations

from enum import Enum

from lwa_core.results.schema import Figure


class Verdict(Enum):
    """Whether a difference, or a ratio, is shown to be for the better."""

    BETTER = "better"
    WORSE = "worse"
    EITHER = "either"
    """The interval holds both."""
    UNKNOWN = "unknown"
    """There is no interval."""


def verdict(figure: Figure | None, *, same: float = 0.0, less_is_better: bool = False) -> Verdict:
    """What the interval of a difference shows; an interval that touches `same` shows nothing.

    Args:
        figure: First less second, or first over second; None where it was not measured.
        same: Its value where both are alike: 0 for a difference, 1 for a ratio.
        less_is_better: Whether the first is the better one where the figure is low.
    """
    if figure is None or figure.low is None or figure.high is None:
        return Verdict.UNKNOWN
    if figure.low > same:
        return Verdict.WORSE if less_is_better else Verdict.BETTER
    if figure.high < same:
        return Verdict.BETTER if less_is_better else Verdict.WORSE
    return Verdict.EITHER


def advantage(difference: Figure | None, less_is_better: bool) -> Figure | None:
    """A difference as what the first is ahead by: above 0 where it is the better one, whichever way the metric goes."""
    if difference is None or not less_is_better:
        return difference
    mean, low, high = (None if v is None else -v for v in (difference.mean, difference.high, difference.low))
    return Figure(mean, low, high, difference.units)


COMPARISONS = {
    Verdict.BETTER: "is shown to {do} better than",
    Verdict.WORSE: "is shown to {do} worse than",
    Verdict.EITHER: "is not shown to {do} better or worse than",
    Verdict.UNKNOWN: "has no interval that could show it to {do} better or worse than",
}


def compared(found: Verdict, do: str = "be") -> str:
    """How the first stands to the second, as in "ours <...> theirs"; `do`: what a better one does, such as "rank"."""
    return COMPARISONS[found].format(do=do)
