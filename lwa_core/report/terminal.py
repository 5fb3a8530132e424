"""The table that `lwa run` ends with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lwa_core.report.reading import Results
from lwa_core.report.text import between, mean, megabytes, metric_name, milliseconds, percent, ratio

if TYPE_CHECKING:
    from rich.table import Table


def result_table(metrics: Mapping[str, Any], performance: Mapping[str, Any] | None) -> Table:
    """Every model with its ranking quality, what it keeps of the teacher's, its size and its time."""
    from rich.table import Table
    from rich.text import Text

    results = Results(metrics, performance)
    name = metric_name(results.headline)
    table = Table(caption=f"in brackets: {results.confidence} intervals over the test users; -: not measured")
    table.add_column("model")
    for title in ("layers", name, "kept", "in memory", "p50", "time ratio"):
        table.add_column(title, justify="right")
    previous = None
    for model in results.models:
        if previous is not None and model["kind"] != previous:
            table.add_section()
        previous = model["kind"]
        measured = results.latency(model["name"])
        size = model["bytes_memory"]
        cells = [
            model["name"],
            "-" if model["depth"] is None else str(model["depth"]),
            _bracketed(results.figure(model)),
            _bracketed(results.figure(model, "kept"), percent),
            "-" if size is None else megabytes(size),
            "-" if measured is None or "p50" not in measured else milliseconds(measured["p50"]),
            _bracketed(results.time_ratio(model), ratio),
        ]
        # Text, not markup: a name may hold square brackets.
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _bracketed(figure: Any, show: Any = None) -> str:
    how = (show,) if show else ()
    if figure is None or figure["mean"] is None:
        return "-"
    inside = between(figure, *how)
    return f"{mean(figure, *how)} [{inside}]" if inside else mean(figure, *how)
