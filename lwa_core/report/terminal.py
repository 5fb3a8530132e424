"""The tables that `lwa run` ends with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lwa_core.report import cold_start
from lwa_core.results.figures import Figure, megabytes, metric_name, milliseconds, number, percent, ratio
from lwa_core.results.reading import Results

if TYPE_CHECKING:
    from rich.table import Table


def result_tables(metrics: Mapping[str, Any], performance: Mapping[str, Any] | None) -> list[Table]:
    """The table of all models, and where some test targets occur in nobody's training part, another one of these."""
    cold = cold_start.told(metrics)
    return [result_table(metrics, performance), *([] if cold is None else [_cold_start_table(cold)])]


def result_table(metrics: Mapping[str, Any], performance: Mapping[str, Any] | None) -> Table:
    """Every model: its ranking quality, the share of the teacher's that it keeps, the memory of its weights, the median
    latency at batch 1 and its ratio to the teacher's.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    results = Results(metrics, performance)
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        caption=Text(f"[low, high]: {results.confidence} interval over the test users; -: not measured"),
    )
    table.add_column("model", overflow="fold")
    for title in ("layers", metric_name(results.headline), "share kept", "memory", "p50", "time"):
        table.add_column(title, justify="right", no_wrap=True)
    kinds = [model["kind"] for model in results.models]
    for model, following in zip(results.models, [*kinds[1:], None], strict=True):
        size, measured = model["bytes_memory"], results.latency(model["name"]) or {}
        cells = [
            model["name"],
            "-" if model["depth"] is None else str(model["depth"]),
            _mean(results.figure(model), number),
            _with_bounds(results.figure(model, "kept")),
            "-" if size is None else megabytes(size),
            "-" if "p50" not in measured else milliseconds(measured["p50"]),
            _mean(results.time_ratio(model), ratio),
        ]
        # Text, not markup: a name may hold square brackets.
        table.add_row(*(Text(cell) for cell in cells), end_section=following != model["kind"])
    return table


def _cold_start_table(cold: Mapping[str, Any]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    title = f"cold start: the {cold['examples']:,} of {cold['of']:,} test targets that occur in nobody's training part"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    kinds = cold["table"].kinds
    for place, name in enumerate(cold["table"].columns):
        table.add_column(name, justify="right" if place else "left", no_wrap=bool(place))
    for row, kind, following in zip(cold["table"].rows, kinds, [*kinds[1:], None], strict=True):
        table.add_row(*map(Text, row), end_section=following != kind)
    return table


def _mean(figure: Figure, show: Any) -> str:
    return "-" if figure is None or figure["mean"] is None else str(show(figure["mean"]))


def _with_bounds(share: Figure) -> str:
    """`97.5 % [93.5, 101.5]`, so that the table fits into 80 columns."""
    if share is None or share["low"] is None or share["high"] is None:
        return _mean(share, percent)
    return f"{_mean(share, percent)} [{number(100 * share['low'], 1)}, {number(100 * share['high'], 1)}]"
