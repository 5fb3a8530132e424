"""Figures as people read them."""

from __future__ import annotations

from typing import Any

from lwa_core.results.schema import Figure

NOT_MEASURED = "not measured"
ASIDES = {"_other": "other texts", "_own_index": "own index"}
"""What stands behind the name of a metric that is measured elsewhere too -> where that is."""

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
    return f"{value:.1f} ms" if value >= 100 else f"{value:.3g} ms"


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


def with_interval(figure: Figure | None, show: Any = number) -> str:
    """Mean and interval: `0.0921 (0.0873 to 0.0970)`."""
    inside = between(figure, show)
    return f"{mean(figure, show)} ({inside})" if inside else mean(figure, show)


def metric_name(metric: str) -> str:
    """`ndcg@10` -> `NDCG@10`; what it is measured on besides stands behind a comma."""
    for after, words in ASIDES.items():
        if metric.endswith(after):
            return f"{metric_name(metric.removesuffix(after))}, {words}"
    name, at, k = metric.partition("@")
    shown = {"ndcg": "NDCG", "mrr": "MRR", "recall": "Recall", "coverage": "Coverage", "diversity": "Diversity"}
    return shown.get(name, name) + at + k
