"""The report of a study: one page, its Markdown, its JSON. What was not measured is an empty box that says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from markupsafe import Markup

from lwa_core.report.charts import ACCENT, FAINT, INK, SECOND, draw_svg
from lwa_core.report.tables import Table, escaped, markdown_table
from lwa_core.report.writing import environment
from lwa_core.results.figures import MINUS, metric_name
from lwa_core.store.files import readable_json, write_atomically
from lwa_core.store.refusals import explained

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = (ACCENT, SECOND, INK, FAINT)
MARKERS = "os^D"


@attrs.frozen
class Panel:
    """A chart, or why there is none."""

    title: str
    chart: Markup | None
    missing: str = ""


@attrs.frozen
class Series:
    """One line of a chart: a value for each cell, None where there is none, with ends of intervals where known."""

    name: str
    values: Sequence[float | None]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()


COSTS = (
    ("Parameters [thousands]", ("parameters", "parameters of layers"), 1e-3),
    ("Bytes on disk [MB]", ("bytes on disk",), 1e-6),
    ("Bytes in memory [MB]", ("bytes in memory",), 1e-6),
    ("Memory of a fresh process [MB]", ("memory of the process",), 1e-6),
    ("Median latency at batch 1 [ms]", ("latency p50 ms",), 1.0),
    ("Time to make it [s]", ("seconds to make",), 1.0),
    ("Epoch whose weights were kept", ("best epoch",), 1.0),
    ("Training loss of that epoch [nats]", ("loss at the best epoch",), 1.0),
)


def tables(summary: Mapping[str, Any]) -> list[Table]:
    """What terminal, page and Markdown show."""
    return [
        table
        for table in (*_quality(summary), *_costs(summary), _elasticities(summary), _indices(summary))
        if table.rows
    ]


def _quality(summary: Mapping[str, Any]) -> list[Table]:
    """For each model of the runs a line a cell; of one that is the same in all cells `answer` has a sentence."""
    return [_model(summary, model) for model in summary["models"] if model["cells"] and not _same_everywhere(model)]


def _same_everywhere(model: Mapping[str, Any]) -> bool:
    return len(model["cells"]) > 1 and len({told["mean"] for told in model["cells"].values()}) == 1


def _model(summary: Mapping[str, Any], model: Mapping[str, Any]) -> Table:
    best = model["not_shown_worse"]
    rows = []
    for cell, told in model["cells"].items():
        difference = model["differences"].get(cell)
        rows.append(
            [
                cell,
                str(told["seeds"]),
                estimate(told),
                _figure(told["by_seed"]),
                "" if best is None else ("yes" if cell in best else ""),
                "reference" if cell == summary["reference"] else ("" if difference is None else estimate(difference)),
                "" if difference is None else _verdict(summary, difference),
            ]
        )
    metric = metric_name(summary["headline"])
    columns = ("", "seeds", metric, "sd by seed", "in the best set", "difference", "shown")
    title = f"{model['model']}: {metric} over seeds and test examples, with 95 % intervals"
    return Table(columns, rows, title=title)


def _verdict(summary: Mapping[str, Any], difference: Mapping[str, Any]) -> str:
    if difference["equivalent"]:
        return f"within ±{100 * summary['margin']:g} % of the reference"
    if difference["shown"]:
        return str(difference["shown"])
    needed = difference["seeds_for_margin"]
    return "nothing" if needed is None else f"nothing; {needed} seeds would show ±{100 * summary['margin']:g} %"


def _costs(summary: Mapping[str, Any]) -> list[Table]:
    return [_collapse(summary), _devices(summary), _curves(summary)]


def _devices(summary: Mapping[str, Any]) -> Table:
    """In how many of the seeds each model passes each profile."""
    rows = [
        [f"{model}, {cell['cell']}", *(_share(figures, name) for name in _profiles_of(summary))]
        for cell in summary["cells"]
        for model, figures in cell["figures"].items()
        if any(name.startswith("passes ") for name in figures)
    ]
    names = [name.removeprefix("passes ") for name in _profiles_of(summary)]
    return Table(("", *names), rows, title="Share of the seeds in which a device's limits are kept")


def _profiles_of(summary: Mapping[str, Any]) -> list[str]:
    told = [name for cell in summary["cells"] for figures in cell["figures"].values() for name in figures]
    return list(dict.fromkeys(name for name in told if name.startswith("passes ")))


def _share(figures: Mapping[str, float], name: str) -> str:
    return "" if name not in figures else f"{100 * figures[name]:.0f} %"


def _curves(summary: Mapping[str, Any]) -> Table:
    """Where trainings go, by a power law through their first two thirds."""
    rows = [
        [f"{model}, {cell['cell']}", _figure(figures["curve limit"]), f"{100 * figures['curve missed']:.1f} %"]
        for cell in summary["cells"]
        for model, figures in cell["figures"].items()
        if "curve limit" in figures
    ]
    title = "Validation by epoch: a power law through the first two thirds, and how far it misses the last third"
    return Table(("", "its limit", "missed by"), rows, title=title)


def _collapse(summary: Mapping[str, Any]) -> Table:
    rows = [
        [cell["cell"], f"{cell['collapsed']['collapsed']} of {cell['collapsed']['seeds']}"]
        for cell in summary["cells"]
        if cell["collapsed"] is not None
    ]
    collapsed = any(cell["collapsed"] and cell["collapsed"]["collapsed"] for cell in summary["cells"])
    note = "A mean over a collapsed seed says nothing." if collapsed else ""
    title = "Seeds whose full model ended no better than the baseline that needs least"
    return Table(("", "collapsed"), rows, title=title, note=note)


def _elasticities(summary: Mapping[str, Any]) -> Table:
    rows = [[each["knob"], str(each["seeds"]), estimate(each)] for each in summary["elasticities"]]
    metric = metric_name(summary["headline"])
    title = f"Elasticities: by how many percent {metric} of the full model moves with 1 % more of a knob"
    return Table(("", "seeds", "elasticity"), rows, title=title)


def _indices(summary: Mapping[str, Any]) -> Table:
    found = summary["indices"]
    if not found:
        return Table(("",), [])
    if "total" in found[0]:
        rows = [[each["knob"], estimate(each["first_order"]), estimate(each["total"])] for each in found]
        return Table(
            ("", "alone", "with all others"), rows, title="Sobol indices: shares of the variance between cells"
        )
    rows = [[each["knob"], estimate(each["mean_absolute_effect"]), _figure(each["spread"])] for each in found]
    return Table(("", "mean absolute effect", "spread"), rows, title="Morris screening: effects of a step of a knob")


def estimate(told: Mapping[str, Any]) -> str:
    """`0.123 (0.110 to 0.136)`."""
    if told["low"] is None:
        return _figure(told["mean"])
    return f"{_figure(told['mean'])} ({_figure(told['low'])} to {_figure(told['high'])})"


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return (f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}").replace("-", MINUS)


# Charts


def panels(summary: Mapping[str, Any]) -> list[Panel]:
    """Twelve: quality, what it costs, how the training went, which layers matter, what a student keeps."""
    cells = [cell["cell"] for cell in summary["cells"]]
    metric = metric_name(summary["headline"])
    made = [_across(f"{metric} of every model", cells, _headline_series(summary, cells))]
    made += [_across(title, cells, _cost_series(summary, cells, names, scale)) for title, names, scale in COSTS]
    made += [_profiles(summary), _front(summary), _kept(summary, cells)]
    return made


def _headline_series(summary: Mapping[str, Any], cells: Sequence[str]) -> list[Series]:
    found = []
    for model in summary["models"]:
        told = [model["cells"].get(cell) for cell in cells]
        parts = [[None if each is None else each[part] for each in told] for part in ("mean", "low", "high")]
        found.append(Series(model["model"], *parts))
    return found[: len(COLORS)]


def _cost_series(summary: Mapping[str, Any], cells: Sequence[str], names: Sequence[str], scale: float) -> list[Series]:
    by_cell = {cell["cell"]: cell["figures"] for cell in summary["cells"]}
    models = [model["model"] for model in summary["models"]][: len(COLORS)]
    found = []
    for model in models:
        for name in names:
            values = [by_cell[cell].get(model, {}).get(name) for cell in cells]
            if any(value is not None for value in values):
                label = model if name == names[0] else f"{model}, {name.removeprefix('parameters of ')}"
                found.append(Series(label, [None if value is None else value * scale for value in values]))
    return found[: len(COLORS)]


def _across(title: str, cells: Sequence[str], series: Sequence[Series]) -> Panel:
    """A value for each cell, in the order of the study."""
    if not any(value is not None for each in series for value in each.values):
        return Panel(title, None, f"{title}: no run has it")

    def draw(axes: Axes) -> None:
        for place, each in enumerate(series):
            shift = (place - (len(series) - 1) / 2) * 0.12
            at = [n + shift for n, value in enumerate(each.values) if value is not None]
            values = [value for value in each.values if value is not None]
            color = COLORS[place]
            axes.plot(at, values, color=color, marker=MARKERS[place], markersize=4.5, linestyle="none", label=each.name)
            for n, (low, high) in enumerate(zip(each.low, each.high, strict=True)):
                if low is not None and high is not None:
                    axes.plot([n + shift] * 2, [low, high], color=color, linewidth=1.3)
        _label_cells(axes, cells)
        axes.grid(axis="y", color=FAINT, linewidth=0.4, alpha=0.5)
        if len(series) > 1:
            axes.legend(fontsize=7, frameon=False)

    return Panel(title, Markup(draw_svg(title, draw, height=2.5)))


def _label_cells(axes: Axes, cells: Sequence[str]) -> None:
    short = [cell.partition("=")[2] if cell.count("=") == 1 else cell for cell in cells]
    every = max(1, -(-len(cells) // 12))
    long = max(map(len, short), default=0) > 6
    axes.set_xticks(
        range(0, len(cells), every),
        [label[:22] for label in short[::every]],
        rotation=30 if long else 0,
        ha="right" if long else "center",
        fontsize=7 if long else 8,
    )
    axes.set_xlim(-0.6, len(cells) - 0.4)
    if cells and all(cell.count("=") == 1 for cell in cells):
        axes.set_xlabel(cells[0].partition("=")[0])


def _profiles(summary: Mapping[str, Any]) -> Panel:
    """How the scores lie over the depth, in each cell, by the first scorer; each profile on its own scale."""
    title = "Scores of the layers, from the first to the last, by cell"
    profiles = [(cell["cell"], next(iter(cell["profile"].values()))) for cell in summary["cells"] if cell["profile"]]
    profiles = [(cell, profile) for cell, profile in profiles if len(profile) > 1]
    if not profiles:
        return Panel(title, None, "scores of layers: the recipe scores nothing")

    def draw(axes: Axes) -> None:
        for row, (_, profile) in enumerate(reversed(profiles)):
            low, high = min(profile), max(profile)
            heights = [(value - low) / (high - low) if high > low else 0.5 for value in profile]
            at = [layer / (len(profile) - 1) for layer in range(len(profile))]
            axes.plot(at, [row + 0.75 * height for height in heights], color=ACCENT, marker="o", markersize=2.5)
        axes.set_yticks(range(len(profiles)), [cell[:22] for cell, _ in reversed(profiles)], fontsize=7)
        axes.set_xlabel("relative depth")

    return Panel(title, Markup(draw_svg(title, draw, height=0.9 + 0.3 * len(profiles))))


def _front(summary: Mapping[str, Any]) -> Panel:
    """Quality against latency, and which models no other one beats in both."""
    metric, title = metric_name(summary["headline"]), "Quality against latency: what nothing beats in both is filled"
    by_cell = {cell["cell"]: cell["figures"] for cell in summary["cells"]}
    points = [
        (by_cell[cell].get(model["model"], {}).get("latency p50 ms"), told["mean"], f"{model['model']}, {cell}")
        for model in summary["models"]
        for cell, told in model["cells"].items()
    ]
    timed = [(time, figure, name) for time, figure, name in points if time is not None]
    if not timed:
        return Panel(title, None, "latency: no run measured it reliably")
    sign = -1.0 if summary["less_is_better"] else 1.0

    def beaten(time: float, figure: float) -> bool:
        return any(
            other <= time and sign * value >= sign * figure and (other, value) != (time, figure)
            for other, value, _ in timed
        )

    def draw(axes: Axes) -> None:
        for time, figure, name in timed:
            best = not beaten(time, figure)
            axes.plot(
                [time], [figure], marker="o", color=ACCENT, fillstyle="full" if best else "none", linestyle="none"
            )
            if best:
                axes.annotate(name[:28], (time, figure), xytext=(4, 4), textcoords="offset points", fontsize=7)
        axes.set_xlabel("median latency at batch 1 [ms]")
        axes.set_ylabel(metric)
        axes.set_xlim(left=0)
        axes.margins(x=0.25, y=0.15)
        axes.grid(color=FAINT, linewidth=0.4, alpha=0.5)

    return Panel(title, Markup(draw_svg(title, draw, height=2.8)))


def _kept(summary: Mapping[str, Any], cells: Sequence[str]) -> Panel:
    """What students keep of their own full model, beside the share of bytes and of time that they take."""
    title = "Shares of the full model: quality kept, bytes, time"
    metric = f"kept {summary['headline']}"
    series: list[Series] = []
    by_cell = {cell["cell"]: cell for cell in summary["cells"]}
    students = [model["model"] for model in summary["models"] if model["model"] != "teacher"]
    for student in students[-1:]:
        figures = {cell: by_cell[cell]["figures"].get(student, {}) for cell in cells}
        full = {cell: by_cell[cell]["figures"].get("teacher", {}) for cell in cells}
        told = {model["model"]: model["cells"] for model in summary["models"]}
        kept = [_over(told[student].get(cell), told.get("teacher", {}).get(cell)) for cell in cells]
        size = [_ratio(figures[cell].get("bytes on disk"), full[cell].get("bytes on disk")) for cell in cells]
        time = [_ratio(figures[cell].get("latency p50 ms"), full[cell].get("latency p50 ms")) for cell in cells]
        series = [Series(f"{student}: quality", kept), Series("bytes on disk", size), Series("latency", time)]
    panel = _across(title, cells, series)
    return panel if panel.chart is not None else Panel(title, None, f"{metric}: the recipe makes no student")


def _over(own: Mapping[str, Any] | None, full: Mapping[str, Any] | None) -> float | None:
    return None if own is None or full is None else _ratio(own["mean"], full["mean"])


def _ratio(own: float | None, full: float | None) -> float | None:
    return None if own is None or not full else own / full


# Files


def answer(summary: Mapping[str, Any]) -> list[str]:
    """What it comes to, in sentences."""
    metric = metric_name(summary["headline"])
    said = []
    for model in summary["models"][:4]:
        best, count = model["not_shown_worse"], len(model["cells"])
        if _same_everywhere(model):
            first = next(iter(model["cells"].values()))
            said.append(f"The {model['model']} is the same in all cells: {metric} {estimate(first)}.")
            continue
        if best is None or count < 2:
            continue
        if len(best) == count:
            said.append(f"No cell is shown to be worse than another in {metric} of {model['model']}.")
        else:
            said.append(
                f"Not shown to be worse than the best in {metric} of {model['model']}: {'; '.join(best)} "
                f"({len(best)} of {count} cells)."
            )
    if summary["done"] < summary["runs"]:
        said.append(f"{summary['done']} of {summary['runs']} runs are done.")
    return said


def write_study(summary: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write `NAME.html`, `NAME.md` and `NAME.json`. Raises StoreError where they cannot be written."""
    made = {"html": html(summary), "md": markdown(summary), "json": readable_json(dict(summary)).decode()}
    paths = [folder / f"{summary['study']}.{ending}" for ending in made]
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in zip(paths, made.values(), strict=True):
            write_atomically(path, text.encode())
    return paths


def html(summary: Mapping[str, Any]) -> str:
    """One page that needs nothing else."""
    template = environment(autoescape=True).get_template("study.html.jinja")
    return template.render(
        summary=summary, answer=answer(summary), tables=tables(summary), panels=panels(summary), facts=_facts(summary)
    )


def markdown(summary: Mapping[str, Any]) -> str:
    """The tables without the charts."""
    parts = [f"# {escaped(summary['study'])}", *map(escaped, answer(summary)), markdown_table(_facts(summary))]
    for table in tables(summary):
        parts += [f"## {escaped(table.title)}", markdown_table(table), *([escaped(table.note)] if table.note else [])]
    if summary["failures"]:
        failed = Table(("run", "what went wrong"), list(map(list, summary["failures"].items())), text=True)
        parts += ["## Runs that failed", markdown_table(failed)]
    return "\n\n".join(parts) + "\n"


def _facts(summary: Mapping[str, Any]) -> Table:
    tuned = summary["tune"]
    knobs = "; ".join(
        f"{knob['name']} ({', '.join(knob['values'])})" if knob["values"] else knob["name"] for knob in summary["knobs"]
    )
    rows = [
        ["recipe", summary["recipe"]],
        ["varied", knobs or "nothing"],
        ["design", summary["design"]],
        ["seeds", ", ".join(map(str, summary["seeds"]))],
        [
            "tuned",
            "no" if tuned is None else f"{tuned['trials']} trials a cell, on validation, with seed {tuned['seed']}",
        ],
        ["measured on", "; ".join(summary["machines"])],
        ["lwa", ", ".join(summary["lwa"])],
    ]
    return Table(("", ""), rows, text=True)
