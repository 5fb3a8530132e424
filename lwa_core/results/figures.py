"""Figures as people read them."""

from __future__ import annotations

from typing import Any

from lwa_core.results.schema import Figure
from lwa_core.statistics.rank_metrics import SAMPLED

NOT_MEASURED = "not measured"
ASIDES = {"_other": "other texts", "_own_index": "own index"}
"""What stands behind the name of a metric that is measured elsewhere too -> where that is."""

FEW = 20
"""Of fewer examples their number alone says why there is no interval."""

MINUS = "\N{MINUS SIGN}"


def number(value: float, digits: int = 4) -> str:
    """A number with a real minus sign."""
    return f"{value:,.{digits}f}".replace("-", MINUS)


def signed(value: float, digits: int = 4) -> str:
    """A number that shows its sign also where it is positive."""
    return f"{value:+,.{digits}f}".replace("-", MINUS)


def short(value: float) -> str:
    """Three significant digits, for scores of any size."""
    return f"{value:.3g}".replace("-", MINUS)


def percent(value: float) -> str:
    """A share of 1 in percent."""
    return f"{100 * value:.1f} %".replace("-", MINUS)


def ratio(value: float) -> str:
    """A ratio to two digits."""
    return f"{value:.2f}"


def milliseconds(value: float) -> str:
    """Three significant digits, or tenths."""
    shown = f"{value:.1f} ms" if abs(value) >= 100 else f"{value:.3g} ms"
    return shown.replace("-", MINUS)


def megabytes(value: float) -> str:
    """Bytes in MB of 10^6."""
    return f"{value / 1e6:,.1f} MB" if abs(value) >= 1e5 else f"{value / 1e6:,.3f} MB"


def seconds(value: float) -> str:
    """A duration in the unit that suits it."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def mean(figure: Figure | None, show: Any = number) -> str:
    """The mean alone."""
    return NOT_MEASURED if figure is None or figure.mean is None else str(show(figure.mean))


def between(figure: Figure | None, show: Any = number) -> str:
    """The interval alone, or nothing where there is none."""
    if figure is None or figure.low is None or figure.high is None:
        return ""
    return f"{show(figure.low)} to {show(figure.high)}"


def with_interval(figure: Figure | None, show: Any = number, of: str = "examples") -> str:
    """Mean and interval: `0.0921 (0.0873 to 0.0970)`; `of`: what they are over, to say of how few there is none."""
    inside = between(figure, show) or without_interval(figure, of)
    return f"{mean(figure, show)} ({inside})" if inside else mean(figure, show)


def without_interval(figure: Figure | None, of: str = "examples") -> str:
    """Why a mean over examples has no interval: `no interval: 2 users`; nothing where it has one, or needs none."""
    if figure is None or figure.mean is None or figure.units is None or between(figure):
        return ""
    if figure.units < FEW:
        return f"no interval: {counted(figure.units, of)}"
    return f"no interval: too few of {figure.units:,} {of} differ"


def counted(count: int, of: str) -> str:
    """`1 user`, `2 users`."""
    return f"{count:,} {of.removesuffix('s') if count == 1 else of}"


def metric_name(metric: str) -> str:
    """`ndcg@10` -> `NDCG@10`; what it is measured on besides stands behind a comma."""
    for after, words in {**ASIDES, SAMPLED: "sampled items only"}.items():
        if metric.endswith(after):
            return f"{metric_name(metric.removesuffix(after))}, {words}"
    name, at, k = metric.partition("@")
    shown = {"ndcg": "NDCG", "mrr": "MRR", "recall": "Recall", "coverage": "Coverage", "diversity": "Diversity"}
    return shown.get(name, name) + at + k
