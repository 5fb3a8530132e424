"""What a report says, worked out once for HTML and Markdown: plain values that templates only lay out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import tomli_w

from lwa_core.report import certainty
from lwa_core.results.figures import (
    NOT_MEASURED,
    Figure,
    between,
    mean,
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
from lwa_core.results.warnings import performance_warnings


@attrs.frozen
class Table:
    """Column titles and rows of cells. The first column is text, the others are figures unless `text` says so.

    `kinds` says of what kind the model of each row is, where rows are models.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    text: bool = False
    kinds: Sequence[str] = ()


@attrs.frozen
class Strip:
    """One row over the layers: the kept ones of a tier, or the rank that a scorer gives each (1: most important)."""

    name: str
    cells: Sequence[str]
    strength: Sequence[float]
    tier: bool


def sections(results: Results) -> dict[str, Any]:
    """Everything that the templates show, but the charts."""
    metrics = results.metrics
    return {
        "name": metrics["recipe"]["name"],
        "seed": metrics["recipe"]["seed"],
        "version": metrics["lwa"],
        "confidence": results.confidence,
        "headline": metric_name(results.headline),
        "answer": answer(results),
        "warnings": [*metrics["warnings"], *performance_warnings(metrics, results.performance)],
        "asked": asked(metrics["asked"]),
        "quality": quality(results),
        "all_metrics": all_metrics(results),
        "size": size(results),
        "time": time(results),
        "timing": results.timing,
        "memory": bool((results.performance or {}).get("memory")),
        "scores": [{**scores, "note": certainty.note(scores)} for scores in metrics["scores"]],
        "certainty": certainty.told(metrics["scores"], metrics["agreement"], metrics["plan"]["depth"]),
        "score_table": score_table(metrics["scores"], metrics["plan"]["depth"]),
        "calibration": metrics["calibration"],
        "agreement": metrics["agreement"],
        "plan": plan(results),
        "plan_table": plan_table(plan(results), metrics["plan"]["depth"]),
        "trace": tomli_w.dumps(_tomlable(metrics["plan"]["trace"])).strip(),
        "selector": metrics["plan"]["selector"],
        "depth": metrics["plan"]["depth"],
        "training": training(metrics["training"]),
        "steps": _steps(metrics["data"]["steps"]),
        "facts": Table(("fact", "value"), _flat(metrics["data"]["facts"]), text=True),
        "data": metrics["data"],
        "machine": _machine(results),
        "stages": _stages(results),
        "recipe_sha256": metrics["recipe"]["sha256"],
        "test_items_sha256": metrics["data"]["test_items_sha256"],
        "resolved": tomli_w.dumps(_tomlable(metrics["asked"])).strip(),
    }


def answer(results: Results) -> list[str]:
    """The outcome in a few sentences, each computed from the figures."""
    said = [_quality_sentence(results, student) for student in results.finals]
    said += [sentence for student in results.finals if (sentence := _cost_sentence(results, student))]
    return said + _baseline_sentence(results)


def _quality_sentence(results: Results, student: Mapping[str, Any]) -> str:
    teacher, name = results.teacher, metric_name(results.headline)
    layers = f"{student['name']} ({student['depth']} of {teacher['depth']} layers)"
    own, full = results.figure(student), results.figure(teacher)
    lost, kept = results.figure(student, "difference"), results.figure(student, "kept")
    users = f"on {results.test_users:,} test users" if results.test_users else "on the test users"
    said = f"{layers} reaches {name} {mean(own)} {users} and the teacher {mean(full)}"
    if kept is not None:
        said += f": it keeps {mean(kept, percent)} ({results.confidence} interval {between(kept, percent)})"
    if lost is None or lost["low"] is None or lost["high"] is None:
        return f"{said}."
    told = f"the difference is {with_interval(lost, signed)}"
    if lost["high"] < 0:
        return f"{said}; {told}, a loss."
    if lost["low"] > 0:
        return f"{said}; {told}, a gain."
    return f"{said}; {told}, so these users show neither a loss nor that there is none."


def _cost_sentence(results: Results, student: Mapping[str, Any]) -> str | None:
    parts = []
    times, layers = results.time_ratio(student), results.layer_ratio(student)
    if times is not None:
        part = f"a request takes it {with_interval(times, ratio)} times as long as the teacher"
        parts.append(part + (f" (the layer count alone would give {ratio(layers)})" if layers is not None else ""))
    own, full = student["bytes_memory"], results.teacher["bytes_memory"]
    if own and full:
        parts.append(f"its weights take {megabytes(own)} of memory instead of {megabytes(full)}")
    return f"For {student['name']}, {', and '.join(parts)}." if parts else None


def _baseline_sentence(results: Results) -> list[str]:
    measured = [y for y in results.of_kind("baseline") if results.figure(y) is not None]
    if not measured:
        return []
    best = max(measured, key=lambda y: (results.figure(y) or {}).get("mean") or 0.0)
    ahead = results.versus(results.teacher, best)
    by = f", {with_interval(ahead, signed)} from it to the teacher" if ahead is not None else ""
    said = f"The highest baseline is {best['name']} with {with_interval(results.figure(best))}{by}"
    if ahead is not None and ahead["low"] is not None and ahead["low"] <= 0:
        return [f"{said}: the teacher is not shown to be worth its layers here."]
    return [f"{said}."]


def asked(recipe: Mapping[str, Any]) -> Table:
    """The recipe in a few rows; all its settings are told elsewhere."""

    def use(table: Mapping[str, Any]) -> str:
        own = {
            key: value
            for key, value in table.items()
            if key not in ("use", "name", "path") and value not in ("", [], ())
        }
        told = ", ".join(f"{key} = {_value(value)}" for key, value in own.items())
        return f"{table['use']} ({told})" if told else str(table["use"])

    evaluate = recipe["evaluate"]
    rows = [
        ("data", use(recipe["data"])),
        ("teacher", use(recipe["recommender"])),
        ("layers scored by", ", ".join(scorer["name"] for scorer in recipe["score"]) or "nothing"),
        ("layers chosen by", use(recipe["select"])),
        ("students made by", ", then ".join(step["name"] for step in recipe["compress"]) or "nothing"),
        (
            "measured",
            "on test users only, over the full catalogue, "
            + ("seen items filtered" if evaluate["filter_seen"] else "seen items kept")
            + f"; intervals from {evaluate['bootstrap']:,} paired bootstrap resamples of the users",
        ),
    ]
    return Table(("", ""), rows, text=True)


def quality(results: Results) -> Table:
    """The headline metric of every model, its difference to the teacher and the share kept."""
    name = metric_name(results.headline)
    rows = [
        (
            model["name"],
            _layers_told(model),
            with_interval(results.figure(model)),
            _or_dash(results.figure(model, "difference"), signed),
            _or_dash(results.figure(model, "kept"), percent),
        )
        for model in results.models
    ]
    columns = ("model", "layers", name, "difference to the teacher", "share of the teacher's")
    return Table(columns, rows, kinds=[model["kind"] for model in results.models])


def all_metrics(results: Results) -> Table:
    """Every metric of every model."""
    names = list(results.teacher["metrics"])
    rows = [
        (model["name"], *(with_interval(results.figure(model, metric=metric)) for metric in names))
        for model in results.models
    ]
    return Table(("model", *map(metric_name, names)), rows, kinds=[model["kind"] for model in results.models])


def size(results: Results) -> Table:
    """Parameters, disk and memory of every model that has layers."""
    models = _layered(results)
    columns = ("model", "layers", "parameters", "weights on disk", "weights in memory", "memory of the process")
    rows = [
        (
            model["name"],
            _shown(model["depth"], str),
            _shown(model["parameters"], lambda n: f"{n:,}"),
            _shown(model["bytes_disk"], megabytes),
            _shown(model["bytes_memory"], megabytes),
            _shown(process_memory(results, model["name"]), megabytes),
        )
        for model in models
    ]
    return Table(columns, rows, kinds=[model["kind"] for model in models])


def time(results: Results) -> Table:
    """Latency and throughput of every model that has layers, beside what the layer count alone would give."""
    models = _layered(results)
    columns = ("model", "p50", "p95", "p99", "p50 over the teacher's", "layers over the teacher's", "histories/s")
    rows = []
    for model in models:
        measured, layers = results.latency(model["name"]) or {}, results.layer_ratio(model)
        rate = measured.get("throughput")
        rows.append(
            (
                model["name"],
                *(_shown(measured.get(p), milliseconds) for p in ("p50", "p95", "p99")),
                "" if model["kind"] == "teacher" else with_interval(results.time_ratio(model), ratio),
                "" if model["kind"] == "teacher" else _shown(layers, ratio),
                _shown(rate and rate["median"], lambda r: f"{r:,.0f}"),
            )
        )
    return Table(columns, rows, kinds=[model["kind"] for model in models])


def _layered(results: Results) -> list[Mapping[str, Any]]:
    return [*results.of_kind("teacher"), *results.of_kind("student")]


def process_memory(results: Results, name: str) -> float | None:
    """The model's own share of a fresh process: its peak less what the imports took; None where not measured."""
    measured = results.memory(name)
    if measured is None or measured.get("before") is None:
        return None
    return float(measured["peak"] - measured["before"])


def plan(results: Results) -> list[Strip]:
    """Which layers stay, and below it how every scorer ranks the layers."""
    depth, tiers = results.metrics["plan"]["depth"], results.metrics["plan"]["tiers"]
    strips = []
    for tier in tiers:
        kept = [layer in tier for layer in range(depth)]
        cells = [str(layer) if stays else "" for layer, stays in enumerate(kept)]
        strips.append(Strip(f"{len(tier)} of {depth} stay", cells, [float(stays) for stays in kept], tier=True))
    for scores in results.metrics["scores"]:
        order = sorted(range(len(scores["mean"])), key=lambda layer: (-scores["mean"][layer], layer))
        ranks = [order.index(layer) + 1 for layer in range(len(order))]
        strength = [(len(order) - rank) / max(len(order) - 1, 1) for rank in ranks]
        strips.append(Strip(scores["name"], [str(rank) for rank in ranks], strength, tier=False))
    return strips


def plan_table(strips: Sequence[Strip], depth: int) -> Table:
    """The strips without colours."""
    return Table(("", *map(str, range(depth))), [(strip.name, *strip.cells) for strip in strips])


def score_table(scores: Sequence[Mapping[str, Any]], depth: int) -> Table:
    """Every scorer's score of every layer, with intervals."""
    rows = []
    for scorer in scores:
        lows, highs = scorer["low"] or [None] * depth, scorer["high"] or [None] * depth
        figures = [
            dict(zip(("mean", "low", "high"), f, strict=True)) for f in zip(scorer["mean"], lows, highs, strict=True)
        ]
        rows.append((scorer["name"], *(with_interval(figure, short) for figure in figures)))
    return Table(("scorer", *(f"layer {layer}" for layer in range(depth))), rows)


def training(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every model that was trained: its history, the epoch that was kept, and the metric's key."""
    told = []
    for entry in entries:
        history = entry["history"]
        metric = next((key for key in (history[0] if history else {}) if key.startswith("ndcg@")), None)
        kept = [epoch[metric] for epoch in history if metric and epoch["epoch"] == entry["best_epoch"]]
        shown = {"shown": metric_name(metric) if metric else "", "best": number(kept[0]) if kept else NOT_MEASURED}
        told.append({**entry, "metric": metric, **shown})
    return told


def _steps(steps: Sequence[Mapping[str, Any]]) -> Table:
    rows = [(step["name"], *(f"{step[key]:,}" for key in ("rows", "users", "items"))) for step in steps]
    return Table(("after", "rows", "users", "items"), rows)


def _machine(results: Results) -> Table | None:
    told = (results.performance or {}).get("machine")
    return Table(("", ""), _flat(told), text=True) if told else None


def _stages(results: Results) -> Table | None:
    stages = (results.performance or {}).get("stages")
    if not stages:
        return None
    rows = [(stage["stage"], "stored before" if stage["reused"] else seconds(stage["seconds"])) for stage in stages]
    return Table(("stage", "time"), rows)


def _layers_told(model: Mapping[str, Any]) -> str:
    if model["layers"] is None:
        return ""
    if model["kind"] == "teacher":
        return f"all {model['depth']}"
    return f"{model['depth']}: {', '.join(map(str, model['layers']))}"


def _or_dash(figure: Figure, show: Any) -> str:
    return "" if figure is None else with_interval(figure, show)


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
