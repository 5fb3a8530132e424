"""The tables that `lwa run` ends with."""

from __future__ import annotations

from typing import Any

from lwa_core.report import cold_start
from lwa_core.report.tables import Table
from lwa_core.results.figures import megabytes, metric_name, milliseconds, number, percent, ratio
from lwa_core.results.reading import Results
from lwa_core.results.schema import Figure


def result_tables(results: Results) -> list[Table]:
    """The table of all models, and where some test targets occur in nobody's training part, another one of these."""
    return [result_table(results), *([] if results.metrics.cold_start is None else [cold_start.table(results)])]


def result_table(results: Results) -> Table:
    """Every model: its quality, its share of the teacher's, the memory of its weights, the median latency at batch 1
    and its ratio to the teacher's.
    """
    share = "of teacher's" if results.less_is_better else "share kept"
    rows = []
    for model in results.models:
        measured = results.latency(model.name)
        p50 = None if measured is None else measured.p50
        rows.append(
            (
                model.name,
                "-" if model.depth is None else str(model.depth),
                _mean(results.figure(model), number),
                _with_bounds(results.figure(model, "kept")),
                *([_mean(results.figure(model, "kept", results.aside), percent)] if results.aside else ()),
                "-" if model.bytes_memory is None else megabytes(model.bytes_memory),
                "-" if p50 is None else milliseconds(p50),
                _mean(results.time_ratio(model), ratio),
            )
        )
    return Table(
        (
            *("model", "layers", metric_name(results.headline), share),
            *([metric_name(results.aside).partition(", ")[2]] if results.aside else ()),
            *("memory", "p50", "time"),
        ),
        rows,
        kinds=[model.kind for model in results.models],
        note=f"[low, high]: {results.confidence} interval over the test {results.words.examples}; -: not measured",
    )


def _mean(figure: Figure | None, show: Any) -> str:
    return "-" if figure is None or figure.mean is None else str(show(figure.mean))


def _with_bounds(share: Figure | None) -> str:
    """`97.5 % [93.5, 101.5]`, so that the table fits into 80 columns."""
    if share is None or share.low is None or share.high is None:
        return _mean(share, percent)
    return f"{_mean(share, percent)} [{number(100 * share.low, 1)}, {number(100 * share.high, 1)}]"
