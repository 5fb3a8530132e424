"""Write the table of `docs/claims.md` from the results under `benchmarks/`, so that it says what was measured.

LWA_UPDATE_SNAPSHOTS=1 pytest tests/docs/test_claims.py    writes it anew
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "claims.md"
BEGIN, END = "<!-- claims:begin -->\n", "<!-- claims:end -->\n"

REPRODUCED, NOT, CANNOT, OPEN = "reproduced", "not reproduced", "cannot be measured", "not measured yet"

Verdict = tuple[str, str]
"""A word, and what was measured."""


def study(name: str) -> dict[str, Any] | None:
    """The summary of a study; None where it was not run."""
    return _read(f"studies/results/{name}.json")


def _read(file: str) -> Any:
    path = ROOT / "benchmarks" / file
    return json.loads(path.read_text("utf-8")) if path.is_file() else None


def _model(found: dict[str, Any], name: str) -> dict[str, Any]:
    model: dict[str, Any] = next(model for model in found["models"] if model["model"] == name)
    return model


def _spelt(told: dict[str, Any], digits: int = 4) -> str:
    mean, low, high = (f"{told[part]:+.{digits}f}".replace("-", "−") for part in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %".replace("-", "−")


def _change(lost: float) -> str:
    return f"{_percent(abs(lost))} {'lost' if lost > 0 else 'gained'}"


def weighing() -> Verdict:
    """Importance as weights of layerwise distillation, beside alike ones and its own shuffles."""
    found = study("layerwise")
    if found is None:
        return OPEN, ""
    model = _model(found, next(m["model"] for m in found["models"] if m["model"].startswith("healed")))
    told = model["differences"]["weights=leave-one-out"]
    shuffles = [model["cells"][cell]["mean"] for cell in model["cells"] if "shuffled" in cell]
    own, alike = model["cells"]["weights=leave-one-out"]["mean"], model["cells"]["weights=uniform"]["mean"]
    word = REPRODUCED if told["shown"] == "better" and own > max(shuffles) else NOT
    said = (
        f"MovieLens-100K, 8 → 4 layers, {told['seeds']} seeds: weighted by leave-one-out {own:.4f}, alike {alike:.4f}, "
        f"difference {_spelt(told)}; five shuffles of the same weights {min(shuffles):.4f} to {max(shuffles):.4f}"
    )
    return word, said


def rank_sixteen() -> Verdict:
    """Rank 16 of the adapters."""
    found = study("rank")
    if found is None:
        return OPEN, ""
    model = _model(found, next(m["model"] for m in found["models"] if m["model"].startswith("student")))
    best, cells = model["not_shown_worse"], model["cells"]
    word = REPRODUCED if best == ["rank=16"] else NOT
    better = [cell.removeprefix("rank=") for cell, told in model["differences"].items() if told["shown"] == "better"]
    names = ", ".join(cell.removeprefix("rank=") for cell in best)
    shown = f"shown better than 4 bits without training: {', '.join(better) or 'none'}"
    means = ", ".join(f"{cell.removeprefix('rank=')} {told['mean']:.4f}" for cell, told in cells.items())
    seeds = min(told["seeds"] for told in cells.values())
    return word, f"MovieLens-100K, 4 layers, {seeds} seeds: {means}; not shown worse than the best: {names}; {shown}"


def eight_of_twelve() -> Verdict:
    """Eight of twelve layers: how much smaller, how much worse."""
    found = study("eight-of-twelve")
    if found is None:
        return OPEN, ""
    (cell,) = found["cells"]
    told = {model["model"]: model["cells"][cell["cell"]] for model in found["models"]}
    figures = cell["figures"]
    student = next(name for name in figures if name.startswith("drop"))
    healed = next(name for name in figures if name.startswith("distill"))
    smaller = 1 - figures[student]["bytes on disk"] / figures["teacher"]["bytes on disk"]
    layers = 1 - figures[student]["parameters of layers"] / figures["teacher"]["parameters of layers"]
    lost = [1 - told[name]["mean"] / told["teacher"]["mean"] for name in (student, healed)]
    said = (
        f"MovieLens-100K, {told['teacher']['seeds']} seeds: the layers are {_percent(layers)} smaller and the model "
        f"{_percent(smaller)}; NDCG@10 {told['teacher']['mean']:.4f} → {told[student]['mean']:.4f} as cut "
        f"({_change(lost[0])}), {told[healed]['mean']:.4f} distilled ({_change(lost[1])})"
    )
    close = abs(smaller - 1 / 3) < 0.02 and abs(lost[0] - 0.003) < 0.005
    return (REPRODUCED if close else NOT), said


def _shipped() -> dict[str, Any] | None:
    quality = _read("bundles/results/2026-12-01-ml-1m-shipped/metrics.json")
    cost = _read("bundles/results/2026-12-01-ml-1m-shipped/performance.json")
    return None if quality is None or cost is None else {"quality": quality, "cost": cost}


def memory() -> Verdict:
    """Memory of the process that answers."""
    found = _shipped()
    if found is None:
        return OPEN, ""
    one = found["cost"]["configurations"]["1"]
    teacher, student = (one[name]["memory"] / 1e6 for name in ("teacher", "distill-4/int8"))
    kept = _kept(found, "distill-4/int8")
    said = (
        f"MovieLens-1M, 8 → 4 layers in 8 bits: a process takes {student:.0f} MB instead of {teacher:.0f} "
        f"({_percent(1 - student / teacher)} less, nearly all of it torch that is not loaded), at {kept} of the quality"
    )
    return (REPRODUCED if student < teacher / 2 else NOT), said


def faster() -> Verdict:
    """Time of a request."""
    found = _shipped()
    if found is None:
        return OPEN, ""
    ratio = found["cost"]["latency"]["models"]["distill-4/int8"]["ratio"]
    times = [1 / ratio[part] for part in ("mean", "high", "low")]
    plain = 1 / found["cost"]["latency"]["models"]["distill-4"]["ratio"]["mean"]
    said = (
        f"the same: {times[0]:.1f} times ({times[1]:.1f} to {times[2]:.1f}) as fast as a bundle, and {plain:.1f} times "
        f"in torch; quality kept {_kept(found, 'distill-4/int8')}"
    )
    return (REPRODUCED if times[1] >= 2 else NOT), said


def mobile() -> Verdict:
    """The profile `mobile`."""
    found = _shipped()
    if found is None:
        return OPEN, ""
    held = found["cost"]["configurations"]["1"]["distill-4/int8"]["memory"] / 1e6
    said = f"the same bundle takes {held:.0f} MB; the profile as a whole fails by the share of quality that it asks for"
    return (REPRODUCED if held < 100 else NOT), said


def _kept(found: dict[str, Any], name: str) -> str:
    kept = next(model for model in found["quality"]["models"] if model["name"] == name)["kept"]["ndcg@10"]
    return f"{100 * kept['mean']:.1f} % ({100 * kept['low']:.1f} to {100 * kept['high']:.1f})"


def depth() -> Verdict:
    """Twelve to sixteen layers."""
    found = study("depth")
    if found is None:
        return OPEN, ""
    model = _model(found, "teacher")
    best = [cell.removeprefix("layers=") for cell in model["not_shown_worse"]]
    means = ", ".join(f"{cell.removeprefix('layers=')} {told['mean']:.4f}" for cell, told in model["cells"].items())
    word = REPRODUCED if set(best) <= {"12", "16"} else NOT
    seeds = min(told["seeds"] for told in model["cells"].values())
    said = f"made-up data whose structure needs depth, {seeds} seeds: {means}; not shown worse than the best: "
    return word, said + ", ".join(best)


def simulated() -> Verdict:
    """What the figures were drawn from."""
    return CANNOT, "its five seeds drew numbers; every study here names the runs that its intervals are made of"


def not_built() -> Verdict:
    """What the toolkit does not do yet."""
    return OPEN, "no model is run at a depth chosen by the request yet"


CLAIMS: list[tuple[str, Callable[[], Verdict], str]] = [
    ("weighing layers by their importance makes distillation better", weighing, "`lwa study studies/layerwise.toml`"),
    ("rank 16 of the adapters is best", rank_sixteen, "`lwa study studies/rank.toml`"),
    ("8 of 12 layers: 33.3 % smaller, 0.3 % worse", eight_of_twelve, "`lwa study studies/eight-of-twelve.toml`"),
    ("12 to 16 layers are best", depth, "`lwa study studies/depth.toml`"),
    ("50 to 75 % less memory", memory, "`lwa run benchmarks/bundles/ml-1m-shipped.toml`"),
    ("2 to 4 times faster", faster, "`lwa run benchmarks/bundles/ml-1m-shipped.toml`"),
    ("below 100 MB on mobile devices", mobile, "`lwa run benchmarks/bundles/ml-1m-shipped.toml`"),
    ("significant over five seeds", simulated, ""),
    ("the depth a request needs is chosen in less than a millisecond", not_built, ""),
    ("95 % of these choices are right", not_built, ""),
    ("never more than 5 % of the quality is lost", not_built, ""),
]


def table() -> str:
    """The claims, each with a word and what was measured."""
    lines = ["| claim | | measured | command |", "|---|---|---|---|"]
    for claim, measure, command in CLAIMS:
        word, said = measure()
        lines.append(f"| {claim} | *{word}* | {said} | {command} |")
    return "\n".join(lines) + "\n"


def page() -> str:
    """The page with its table made anew."""
    text = PAGE.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]
