"""Write `report.html` and `report.md` into a run folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import attrs
import jinja2
from markupsafe import Markup

from lwa_core.printable import printable
from lwa_core.report import charts, cold_start, devices, optimum, predictive
from lwa_core.report.certainty import Matrix, stability_chart
from lwa_core.report.charts import Point
from lwa_core.report.content import Trained, process_memory, sections
from lwa_core.report.tables import Table, escaped, markdown_table
from lwa_core.results.figures import metric_name
from lwa_core.results.reading import Results, read_results
from lwa_core.store.shared import Content, Say, SharedFolder, quiet

TIME = "median latency at batch 1 [ms]"

UNIT = re.compile(r"(?<=\d) (?=%|(?:ms|MB|s)\b)")


def write_report(run_folder: Path, say: Say = quiet) -> list[Path]:
    """Write the report of a run from its `metrics.json` and, where it is there, `performance.json`.

    The same files give the same report, byte for byte. A report that somebody changed is kept under another name, and
    `say` is told. Returns the paths of the HTML and of the Markdown.

    Raises:
        StoreError: `metrics.json` is missing or damaged, or the report cannot be written.
    """
    results = read_results(run_folder)
    parts = {
        "optimum": optimum.told(results.metrics),
        "uncertainty": predictive.told(results.metrics),
        "cold_start": cold_start.told(results),
        "devices": devices.told(results),
    }
    told = {**sections(results), **parts}
    files = {"report.html": html(results, told), "report.md": markdown(told)}
    SharedFolder(run_folder, say).put({name: Content.of(text.encode()) for name, text in files.items()})
    return [run_folder / name for name in files]


def html(results: Results, told: dict[str, Any]) -> str:
    """One page that needs nothing else. Everything from the data is escaped; only our own charts are not."""
    templates = environment(autoescape=True, finalize=_unbroken)
    return templates.get_template("report.html.jinja").render(**told, charts=_charts(results, told))


def markdown(told: dict[str, Any]) -> str:
    """The same without the charts."""
    templates = environment(autoescape=False, finalize=_markdown_text)
    return templates.get_template("report.md.jinja").render(**told, show=_markdown_table)


def environment(**options: Any) -> jinja2.Environment:
    """The templates of reports."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("lwa_core.report", "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **options,
    )


def _unbroken(value: Any) -> Any:
    """A figure and its unit stay on one line; what others wrote turns no text round."""
    return UNIT.sub("\N{NO-BREAK SPACE}", printable(value)) if type(value) is str else value


class _Ready(str):
    """Markdown, as against text that still has to be escaped."""

    __slots__ = ()


def _markdown_text(value: Any) -> Any:
    """What a template puts in, so that no name from the data is read as Markdown or HTML."""
    if isinstance(value, _Ready) or not isinstance(value, str):
        return value
    return escaped(value)


def _markdown_table(table: Table | Matrix) -> _Ready:
    return _Ready(markdown_table(Table(table.head, table.cells) if isinstance(table, Matrix) else table))


def _charts(results: Results, told: dict[str, Any]) -> dict[str, Any]:
    label = metric_name(results.headline)
    points = _points(results)
    models = [point for point in points if point.kind in ("teacher", "student", "export")]
    costs = {
        TIME: {p.name: None if (t := results.latency(p.name)) is None else t.p50 for p in models},
        "memory of the process above its imports [MB]": {
            p.name: None if (held := process_memory(results, p.name)) is None else held / 1e6 for p in models
        },
    }
    trade_offs: list[tuple[str, Markup | None]] = []
    for across, cost in costs.items():
        placed = [attrs.evolve(point, x=x) for point in models if (x := cost[point.name]) is not None]
        if results.unreliable and across == TIME:
            trade_offs.append((f"{across}: the timing is unreliable", None))
            continue
        trade_offs.append((across, Markup(charts.trade_off(placed, across, label)) if placed else None))
    return {
        "forest": Markup(charts.forest(points, label)) if points else None,
        "scores": {scores.name: Markup(charts.layer_scores(scores)) for scores in results.metrics.scores},
        "stability": {s.name: Markup(c) if (c := stability_chart(s)) else None for s in results.metrics.scores},
        "trade_offs": trade_offs,
        "optimum": None if (found := results.metrics.optimality) is None else Markup(optimum.chart(found)),
        "training": {entry.name: _training(entry) for entry in told["training"] if entry.history},
    }


def _points(results: Results) -> list[Point]:
    """The headline figure of every model for which it was measured."""
    points = []
    for model in results.models:
        figure = results.figure(model)
        if figure is not None and figure.mean is not None:
            points.append(Point(model.name, model.kind, 0.0, figure.mean, figure.low, figure.high))
    return points


def _training(entry: Trained) -> list[Markup]:
    curves = {"loss": "training loss"}
    if entry.metric:
        curves[entry.metric] = f"validation {entry.shown}"
    return [
        Markup(charts.training_curve(entry.name, entry.history, key, label, entry.best_epoch))
        for key, label in curves.items()
    ]
