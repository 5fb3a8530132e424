"""The tables that `lwa run` ends with."""

from __future__ import annotations

from typing import Any

from lwa_core.report import cold_start, devices
from lwa_core.report.tables import Table
from lwa_core.results.devices import devices as found_devices
from lwa_core.results.figures import between, megabytes, metric_name, milliseconds, number, percent, ratio
from lwa_core.results.reading import Results
from lwa_core.results.schema import Figure, ModelResult
from lwa_core.results.words import UNCONTROLLED

UNRELIABLE = "unreliable"


def result_tables(results: Results) -> list[Table]:
    """How good all models are, what those with layers cost, what fits the devices that the recipe names, and where some
    test targets occur in nobody's training part, how good all models are on these.
    """
    cold = [] if results.metrics.cold_start is None else [cold_start.table(results)]
    return [result_table(results), cost_table(results), *map(devices.table, found_devices(results)), *cold]


def result_table(results: Results) -> Table:
    """Every model: its quality and its share of the teacher's, and of the teacher trained as much longer."""
    share = "of teacher's" if results.less_is_better else "share kept"
    controlled = any(model.control is not None for model in results.models)
    aside = results.aside
    columns = ["model", "layers", metric_name(results.headline), share]
    columns += ["of control"] if controlled else []
    columns += [metric_name(aside).partition(", ")[2]] if aside else []
    rows = []
    for model in results.models:
        held = results.control(model)
        row = [model.name, _shown(model.depth, str), _mean(results.figure(model), number)]
        row += [_with_bounds(results.figure(model, "kept"))]
        row += [_with_bounds(None if held is None else held[2])] if controlled else []
        row += [_mean(results.figure(model, "kept", aside), percent)] if aside else []
        rows.append(row)
    return Table(columns, rows, kinds=[model.kind for model in results.models], note="\n".join(_notes(results)))


def _notes(results: Results) -> list[str]:
    """What the brackets hold, why some are lacking, and what healed students were not held against."""
    examples = results.words.examples
    notes = [f"[low, high]: {results.confidence} interval over the test {examples}; -: not measured"]
    shares = [figure for model in results.models if (figure := results.figure(model, "kept")) is not None]
    if lacking := [figure for figure in shares if figure.mean is not None and not between(figure)]:
        counts = sorted({figure.units for figure in lacking if figure.units is not None})
        so_few = f": {' or '.join(f'{count:,}' for count in counts)} {examples}" if counts else ""
        notes.append(f"no interval{so_few}: nothing is shown of how far others could move such a share")
    if results.control_names:
        notes.append(f"of control: of {', '.join(results.control_names)}, the teacher trained for as long as a student")
    if names := [model.name for model in results.uncontrolled]:
        notes.append(f"{', '.join(names)}: {UNCONTROLLED}")
    return notes


def cost_table(results: Results) -> Table:
    """Every model that has layers: memory of its weights, median latency, and the ratio of that to the teacher's."""
    models = [*results.of_kind("teacher"), *results.of_kind("student"), *results.of_kind("export")]
    rows = [_cost(results, model) for model in models]
    columns = ("model", "memory", "p50", "network", "time")
    return Table(columns, rows, kinds=[model.kind for model in models], note="\n".join(_cost_notes(results)))


def _cost_notes(results: Results) -> list[str]:
    """What the times are, and why there are none."""
    if results.timing is None:
        return []
    lines = ["p50: a whole answer; network: of it the network alone; time: over the teacher's [95 % interval]"]
    if results.unreliable:
        lines.append(f"timing unreliable: {'; '.join(results.unreliable)}")
    return lines


def _cost(results: Results, model: ModelResult) -> tuple[str, ...]:
    measured = results.latency(model.name)
    return (
        model.name,
        _shown(model.bytes_memory, megabytes),
        _shown(None if measured is None else measured.p50, milliseconds),
        _shown(None if measured is None else measured.network, milliseconds),
        UNRELIABLE if results.unreliable and model.kind != "teacher" else _ratio(results.time_ratio(model)),
    )


def _ratio(figure: Figure | None) -> str:
    """`0.55 [0.53, 0.57]`."""
    if figure is None or figure.low is None or figure.high is None:
        return _mean(figure, ratio)
    return f"{_mean(figure, ratio)} [{ratio(figure.low)}, {ratio(figure.high)}]"


def _shown(value: Any, show: Any) -> str:
    return "-" if value is None else str(show(value))


def _mean(figure: Figure | None, show: Any) -> str:
    return "-" if figure is None or figure.mean is None else str(show(figure.mean))


def _with_bounds(share: Figure | None) -> str:
    """`97.5 % [93.5, 101.5]`; `(no interval)` where there is none."""
    if share is None or share.mean is None:
        return "-"
    if share.low is None or share.high is None:
        return f"{_mean(share, percent)} (no interval)"
    return f"{_mean(share, percent)} [{number(100 * share.low, 1)}, {number(100 * share.high, 1)}]"
