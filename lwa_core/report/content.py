"""What a report says, worked out once for HTML and Markdown: plain values that templates only lay out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import tomli_w

from lwa_core.pipeline.export import removed_layers
from lwa_core.report import certainty
from lwa_core.report.answer import answer
from lwa_core.report.tables import Table
from lwa_core.results.convergence import validated
from lwa_core.results.figures import (
    NOT_MEASURED,
    counted,
    megabytes,
    metric_name,
    milliseconds,
    number,
    percent,
    ratio,
    seconds,
    short,
    signed,
    with_interval,
)
from lwa_core.results.reading import Results
from lwa_core.results.schema import Data, Figure, ModelLatency, ModelResult, PlanResult, ScorerResult, Step, Training
from lwa_core.results.warnings import performance_warnings
from lwa_core.results.words import CONTROL, UNCONTROLLED


@attrs.frozen
class Strip:
    """One row over the layers: the kept ones of a tier, or the rank that a scorer gives each (1: most important)."""

    name: str
    cells: Sequence[str]
    strength: Sequence[float]
    tier: bool


@attrs.frozen
class Trained:
    """A model's training: what stopped it and what an epoch was made of.

    Args:
        name: Of the model.
        history: One entry an epoch.
        best_epoch: Whose weights were kept.
        metric: Key of the metric that stopped it; None where there is none.
        shown: That metric's name.
        best: Its value in the kept epoch.
        epoch: Windows and targets, in words; empty where they were not counted.
    """

    name: str
    history: Sequence[Mapping[str, float]]
    best_epoch: int
    metric: str | None
    shown: str
    best: str
    epoch: str


def sections(results: Results) -> dict[str, Any]:
    """Everything that the templates show, but the charts."""
    metrics = results.metrics
    return {
        "name": metrics.recipe.name,
        "seed": metrics.recipe.seed,
        "version": metrics.lwa,
        "words": results.words,
        "confidence": results.confidence,
        "headline": metric_name(results.headline),
        "less_is_better": [metric_name(name) for name in metrics.lower_is_better if name in results.teacher.metrics],
        "covers": any(name.startswith("coverage@") for name in results.teacher.metrics),
        "answer": answer(results),
        "warnings": [*metrics.warnings, *performance_warnings(results)],
        "asked": asked(metrics.asked, results),
        "measured": any(model.metrics for model in metrics.models),
        "quality": quality(results),
        "kinds": {model.kind for model in metrics.models},
        "healed": any(model.healed for model in metrics.models),
        "controlled": controlled(results),
        "all_metrics": all_metrics(results),
        "size": size(results),
        "exports": exports(results),
        "loads": loads(results),
        "time": time(results),
        "timing": results.timing,
        "unreliable": "; ".join(results.unreliable),
        "load": _load(results),
        "memory": results.performance is not None and bool(results.performance.memory),
        "scores": metrics.scores,
        "notes": {scores.name: certainty.note(scores) for scores in metrics.scores},
        "certainty": certainty.told(metrics.scores, metrics.agreement),
        "score_table": score_table(metrics.scores),
        "calibration": metrics.calibration,
        "plan": metrics.plan,
        "strips": None if metrics.plan is None else strips(metrics.plan, metrics.scores),
        "plan_table": None if metrics.plan is None else plan_table(metrics.plan, metrics.scores),
        "choices": choices(results),
        "trace": "" if metrics.plan is None else tomli_w.dumps(_tomlable(metrics.plan.trace)).strip(),
        "training": [training(entry) for entry in metrics.training],
        "steps": _steps(metrics.data.steps) if metrics.data.steps else None,
        "facts": Table(("fact", "value"), _flat(metrics.data.facts), text=True),
        "sizes": _sizes(metrics.data),
        "machine": _machine(results),
        "stages": _stages(results),
        "recipe_sha256": metrics.recipe.sha256,
        "test_sha256": metrics.data.test_sha256,
        "resolved": tomli_w.dumps(_tomlable(metrics.asked)).strip(),
    }


def asked(recipe: Mapping[str, Any], results: Results) -> Table:
    """The recipe in a few rows; all its settings are told elsewhere."""

    def use(table: Mapping[str, Any]) -> str:
        own = {
            key: value
            for key, value in table.items()
            if key not in ("use", "name", "path") and value not in ("", [], ())
        }
        told = ", ".join(f"{key} = {_value(value)}" for key, value in own.items())
        used = str(table.get("use") or table.get("path") or "")
        return f"{used} ({told})" if told else used

    evaluate, exports = recipe["evaluate"], recipe.get("export", ())
    titles = {"data": "data", "texts": "texts", "recommender": "teacher", "model": "teacher"}
    seen = {True: ", seen items filtered", False: ", seen items kept", None: ""}[evaluate.get("filter_seen")]
    rows = [(title, use(recipe[table])) for table, title in titles.items() if table in recipe]
    rows += [
        ("layers scored by", ", ".join(scorer["name"] for scorer in recipe.get("score", ())) or "nothing"),
        ("layers chosen by", use(recipe["select"]) if "select" in recipe else "nothing"),
        ("students made by", ", then ".join(step["name"] for step in recipe.get("compress", ())) or "nothing"),
        *((("exported as", ", ".join(f"{each['name']} ({use(each)})" for each in exports)),) if exports else ()),
        (
            "measured",
            f"{results.words.measured}{seen}; intervals from {evaluate['bootstrap']:,} paired bootstrap resamples of "
            f"the {results.words.examples}",
        ),
    ]
    return Table(("", ""), rows, text=True)


def quality(results: Results) -> Table:
    """The headline metric of every model, its difference to the teacher and the share of the teacher's."""
    name, aside, of = metric_name(results.headline), results.aside, results.words.examples
    healed = any(model.healed for model in results.models)
    rows = [
        (
            model.name,
            _layers(model),
            with_interval(results.figure(model), of=of),
            _or_nothing(results.figure(model, "difference"), signed, of),
            _or_nothing(results.figure(model, "kept"), percent, of),
            *([_of_control(results, model)] if healed else ()),
            *(
                (
                    _or_nothing(results.figure(model, metric=aside), of=of),
                    _or_nothing(results.figure(model, "kept", aside), percent, of),
                )
                if aside
                else ()
            ),
        )
        for model in results.models
    ]
    columns = ["model", "layers", name, "difference to the teacher", "share of the teacher's"]
    columns += [f"share of {CONTROL}"] if healed else []
    columns += [metric_name(aside), "share of the teacher's"] if aside else []
    return Table(columns, rows, kinds=[model.kind for model in results.models])


def controlled(results: Results) -> str:
    """What healed students are held against, for the note under the figures."""
    names = [model.name for model in results.uncontrolled]
    if not names:
        return f"the share that counts is that of {CONTROL}, of the same data, epochs and learning rate."
    asked = "control = true in [evaluate] measures it"
    return f"{', '.join(names)}: {UNCONTROLLED} ({asked})."


def all_metrics(results: Results) -> Table:
    """Every metric of every model."""
    names = list(results.teacher.metrics)
    rows = [
        (
            model.name,
            *(with_interval(results.figure(model, metric=metric), of=results.words.examples) for metric in names),
        )
        for model in results.models
    ]
    return Table(("model", *map(metric_name, names)), rows, kinds=[model.kind for model in results.models])


def size(results: Results) -> Table:
    """Parameters, disk and memory of every model that has layers."""
    models = _layered(results)
    columns = (
        *("model", "layers", "parameters", "weights on disk", "weights in memory", "bits a parameter: disk, memory"),
        "memory of the process",
    )
    rows = [
        (
            model.name,
            _shown(model.depth, str),
            _shown(model.parameters, lambda n: f"{n:,}") if model.kind != "export" else "",
            _shown(model.bytes_disk, megabytes),
            _shown(model.bytes_memory, megabytes) if model.kind != "export" else "",
            ", ".join(_bits(each, model.parameters) for each in (model.bytes_disk, model.bytes_memory))
            if model.kind != "export"
            else "",
            _shown(process_memory(results, model.name), megabytes),
        )
        for model in models
    ]
    return Table(columns, rows, kinds=[model.kind for model in models])


def _bits(size: int | None, parameters: int | None) -> str:
    """Bits for each number that a model stands for, all that lies beside the weights counted with them."""
    return NOT_MEASURED if size is None or not parameters else f"{8 * size / parameters:.1f}"


def exports(results: Results) -> Table | None:
    """How every bundle stands to the model that it was made of; None where there is none."""
    rows = [
        (
            model.name,
            model.exported.weights,
            model.exported.table,
            str(model.exported.quantised),
            f"{model.exported.difference:.1e}",
            percent(model.exported.top),
            with_interval(model.exported.kept.get(results.headline), percent, results.words.examples),
        )
        for model in results.of_kind("export")
        if model.exported is not None
    ]
    columns = ("bundle", "weights", "item table", "quantised products", "largest difference", "of the top 10")
    return Table((*columns, "share of its model's"), rows) if rows else None


def choices(results: Results) -> Table | None:
    """The chosen layers of each tier beside sets of their size that nobody looked for, all as cut."""
    rows = []
    for choice in results.metrics.choices:
        for each in (choice.chosen, *choice.others):
            same = each is not choice.chosen and each.layers == choice.chosen.layers
            rows.append(
                (
                    f"{len(each.layers)}, {each.how}",
                    ", ".join(map(str, each.layers)),
                    with_interval(each.figure, number),
                    with_interval(each.kept, percent),
                    "" if each is choice.chosen else "the same" if same else with_interval(each.ahead, signed),
                )
            )
    name = metric_name(results.headline)
    columns = ("layers", "which", name, "of the teacher's", "the chosen set's advantage")
    return Table(columns, rows) if rows else None


def loads(results: Results) -> Table | None:
    """Where every model was read back and gave the same answers, and how other tools take its layers."""
    models = [model for model in _layered(results) if model.loads]
    texts = results.metrics.task == "text"
    depth = results.teacher.depth or 0
    rows = []
    for model in models:
        gone = [str(layer) for layer in removed_layers(model.layers or (), depth)]
        taken = [f"--prune-layers {','.join(gone)}" if gone and model.kind == "student" else ""] if texts else []
        rows.append((model.name, ", ".join(model.loads), *taken))
    columns = ("model", "read back by", *(["llama-quantize (of the teacher's file)"] if texts else []))
    return Table(columns, rows, text=True) if rows else None


def time(results: Results) -> Table:
    """Latency and throughput of every model that has layers, beside what the layer count alone would give."""
    models = _layered(results)
    rate = f"{results.words.requests}/s"
    columns = (
        *("model", "p50", "p95", "p99", "network alone", "added by lwa", "CPU"),
        *("time over the teacher's", "CPU over the teacher's", "layers over the teacher's", rate),
    )
    rows = [_times(results, model) for model in models]
    return Table(columns, rows, kinds=[model.kind for model in models])


def _times(results: Results, model: ModelResult) -> tuple[str, ...]:
    measured, teacher = results.latency(model.name), model.kind == "teacher"
    measured = measured or ModelLatency()
    rate = None if measured.throughput is None else measured.throughput.median
    return (
        model.name,
        *(_shown(time, milliseconds) for time in (measured.p50, measured.p95, measured.p99, measured.network)),
        with_interval(measured.added, milliseconds),
        _shown(measured.cpu, milliseconds),
        *("" if teacher else with_interval(figure, ratio) for figure in (measured.ratio, measured.cpu_ratio)),
        "" if teacher else _shown(results.layer_ratio(model), ratio),
        _shown(rate, lambda r: f"{r:,.0f}"),
    )


def _load(results: Results) -> str:
    """What else the machine did while the models were timed."""
    timing = results.timing
    if timing is None or timing.cpu_share is None:
        return ""
    loads = [load for load in (timing.load_before, timing.load_after) if load is not None]
    said = f"processor time was {percent(timing.cpu_share)} of wall time"
    if not loads:
        return said
    of = "" if timing.processors is None else f" on {counted(timing.processors, 'processors')}"
    return f"{said}; load {' before and '.join(f'{load:.1f}' for load in loads)} after{of}"


def _layered(results: Results) -> list[ModelResult]:
    return [*results.of_kind("teacher"), *results.of_kind("student"), *results.of_kind("export")]


def process_memory(results: Results, name: str) -> float | None:
    """The model's own share of a fresh process: its peak less what the imports took; None where not measured."""
    measured = results.memory(name)
    if measured is None or measured.before is None:
        return None
    return float(measured.peak - measured.before)


def strips(plan: PlanResult, scores: Sequence[ScorerResult]) -> list[Strip]:
    """Which layers stay, and below it how every scorer ranks the layers."""
    made = []
    for tier in plan.tiers:
        kept = [layer in tier for layer in range(plan.depth)]
        cells = [str(layer) if stays else "" for layer, stays in enumerate(kept)]
        made.append(Strip(f"{len(tier)} of {plan.depth} stay", cells, [float(stays) for stays in kept], tier=True))
    for scorer in scores:
        order = sorted(range(len(scorer.mean)), key=lambda layer: (-scorer.mean[layer], layer))
        ranks = [order.index(layer) + 1 for layer in range(len(order))]
        strength = [(len(order) - rank) / max(len(order) - 1, 1) for rank in ranks]
        made.append(Strip(scorer.name, [str(rank) for rank in ranks], strength, tier=False))
    return made


def plan_table(plan: PlanResult, scores: Sequence[ScorerResult]) -> Table:
    """The strips without colours."""
    rows = [(strip.name, *strip.cells) for strip in strips(plan, scores)]
    return Table(("", *map(str, range(plan.depth))), rows)


def score_table(scores: Sequence[ScorerResult]) -> Table:
    """Every scorer's score of every layer, with intervals."""
    depth = max((len(scorer.mean) for scorer in scores), default=0)
    rows = [
        (scorer.name, *(with_interval(scorer.figure(layer), short) for layer in range(len(scorer.mean))))
        for scorer in scores
    ]
    return Table(("scorer", *(f"layer {layer}" for layer in range(depth))), rows)


def training(entry: Training) -> Trained:
    """A model's history, the epoch that was kept, and the metric beside the loss."""
    metric = validated(entry.history) if entry.history else None
    kept = [epoch[metric] for epoch in entry.history if metric and epoch["epoch"] == entry.best_epoch]
    shown, best = metric_name(metric) if metric else "", number(kept[0]) if kept else NOT_MEASURED
    windows, targets = entry.windows, entry.targets
    epoch = "" if windows is None or targets is None else f"{windows:,} windows with {targets:,} targets an epoch"
    if entry.share is not None:
        epoch += f"{'; ' if epoch else ''}{entry.share:g} of the network added to the table of transitions"
    return Trained(entry.name, entry.history, entry.best_epoch, metric, shown, best, epoch)


def _sizes(data: Data) -> str:
    """`943 users, 1,349 items, 99,287 events`; nothing for a task that does not count these."""
    counts = {"users": data.users, "items": data.items, "events": data.events, "texts": data.texts}
    return ", ".join(f"{count:,} {what}" for what, count in counts.items() if count is not None)


def _steps(steps: Sequence[Step]) -> Table:
    rows = [(step.name, *(f"{count:,}" for count in (step.rows, step.users, step.items))) for step in steps]
    return Table(("after", "rows", "users", "items"), rows)


def _machine(results: Results) -> Table | None:
    machine = None if results.performance is None else results.performance.machine
    return Table(("", ""), _flat(machine), text=True) if machine else None


def _stages(results: Results) -> Table | None:
    if results.performance is None or not results.performance.stages:
        return None
    rows = [
        (stage.stage, "stored before" if stage.reused else seconds(stage.seconds))
        for stage in results.performance.stages
    ]
    return Table(("stage", "time"), rows)


def _layers(model: ModelResult) -> str:
    if model.layers is None:
        return ""
    if model.kind in ("teacher", "control"):
        return f"all {model.depth}"
    return f"{model.depth}: {', '.join(map(str, model.layers))}"


def _of_control(results: Results, model: ModelResult) -> str:
    """A healed student's share of the teacher trained as much longer, or that it is not compared with it."""
    found = results.control(model)
    if found is None:
        return "not compared" if model.healed else ""
    return with_interval(found[2], percent, results.words.examples)


def _or_nothing(figure: Figure | None, show: Any = number, of: str = "examples") -> str:
    return "" if figure is None else with_interval(figure, show, of)


def _shown(value: Any, show: Any) -> str:
    return NOT_MEASURED if value is None else str(show(value))


def _flat(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested facts as rows of text."""
    rows: list[tuple[str, str]] = []
    for key, value in table.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            rows += _flat(value, f"{name}: ")
        elif value not in ("", [], None):
            rows.append((name, _value(value)))
    return rows


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_value, value))
    return str(value)


def _tomlable(value: Any) -> Any:
    """The same without None, which TOML cannot say."""
    if isinstance(value, Mapping):
        return {str(key): _tomlable(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, (list, tuple)):
        return [_tomlable(inner) for inner in value if inner is not None]
    return value
