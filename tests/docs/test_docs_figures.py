"""Figures in the README and the documents are those of results under `benchmarks`, and none is without one.

A new figure of a benchmark needs an entry here, which says where it lies and how it is rounded.
"""

from __future__ import annotations

import json
import re
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from documents import ROOT, prose

BENCHMARKS = ROOT / "benchmarks"
README = ROOT / "README.md"
DATA, SEQUENTIAL, TEXT = (ROOT / "docs" / name for name in ("data.md", "sequential.md", "text.md"))
RESULT = "recipes/results/2026-11-24-ml-100k-gated"
ELSEWHERE = "recipes/results/2026-11-29-ml-100k"
LONGER = "recipes/results/2026-11-24-ml-100k-100-epochs"
HEADLINE = "ndcg@10"
READ = [
    README,
    *(ROOT / "docs" / name for name in ("evaluation.md", "guide.md", "sequential.md", "text.md", "bench.md")),
]

NO_RESULT = {
    "0.1821": "what the paper of SASRec has for MovieLens-1M",
    "0.301": "the base of HSTU's buckets of time",
    "0.025": "half of what a 95 % interval leaves out",
}


@cache
def result(place: str) -> Any:
    return json.loads((BENCHMARKS / place).read_text("utf-8"))


def model(place: str, name: str, figures: str) -> Any:
    return next(m for m in result(f"{place}/metrics.json")["models"] if m["name"] == name)[figures]


def spelt(value: float, digits: int = 4) -> str:
    return f"{value:.{digits}f}".replace("-", "−")


def ndcg(place: str, name: str) -> str:
    figure = model(place, name, "metrics")[HEADLINE]
    return f"{spelt(figure['mean'])} ({spelt(figure['low'])} to {spelt(figure['high'])})"


def kept(place: str, name: str) -> str:
    mean, low, high = (100 * model(place, name, "kept")[HEADLINE][part] for part in ("mean", "low", "high"))
    return f"{mean:.1f} % ({low:.1f} to {high:.1f})"


def ahead(place: str, name: str, other: str) -> str:
    figure = model(place, name, "versus")[other][HEADLINE]
    return f"{spelt(figure['mean'])} ({spelt(figure['low'])} to {spelt(figure['high'])})"


def variant(name: str, seed: int, epochs: int = 15) -> dict[str, float]:
    files = sorted((BENCHMARKS / "sequential_variants" / "results").glob("*.json"))
    runs = [result(str(file.relative_to(BENCHMARKS))) for file in files]
    rows = [row for run in runs if run["epochs"] == epochs for row in run["rows"]]
    return next(row for row in rows if (row["variant"], row["seed"]) == (name, seed))


def quality(run: str) -> str:
    figures = next(m for m in result(f"quality/results/2026-11-24-{run}.json")["models"] if m["name"] == "teacher")
    return spelt(figures["metrics"][HEADLINE]["mean"])


def table(data: str) -> str:
    """What the untrained table of transitions reaches."""
    rows = result(f"quality/results/2026-11-30-teachers-{data}.json")["rows"]
    return spelt(next(row for row in rows if row["variant"] == "transitions")["test_ndcg"])


def gains(name: str) -> str:
    told = [spelt(variant(name, seed)["gain"]) for seed in (0, 1, 2)]
    return f"{told[0]}, {told[1]} and {told[2]}"


def healed(name: str) -> str:
    board = result("layer_scorers/results/2026-11-24-160012-healing.json")
    shares = [
        entry["healed"][0]["healed"] / cell["teacher"][HEADLINE]
        for cell in board["cells"]
        for entry in cell["entries"]
        if entry["name"] == name
    ]
    return f"{100 * sum(shares) / len(shares):.1f} %"


def beaten_by_chance(name: str) -> int:
    """On how many of the 24 models a way of choosing was shown worse than chance."""
    return sum(gain["high"] < 0 for gain in _gains(name))


def _gains(name: str) -> list[dict[str, float]]:
    files = ("142323-layer-scorers", "154706-layer-scorers-12")
    boards = [result(f"layer_scorers/results/2026-11-24-{file}.json") for file in files]
    return [e["gain"] for board in boards for c in board["cells"] for e in c["entries"] if e["name"] == name]


SENTENCES = [
    (README, lambda: f"which every run measures since, reaches {table('ml-100k')} on these users"),
    (README, lambda: f"distilled, the model keeps {kept(RESULT, 'distill-4')} of its quality"),
    (README, lambda: f"and {kept(ELSEWHERE, 'distill-4')} in a run on another machine"),
    (README, lambda: f"over item-kNN, {ahead(RESULT, 'teacher', 'item-knn')}, is not shown on 943 users"),
    (README, lambda: f"no better on the test users ({ndcg(LONGER, 'teacher').split()[0]})"),
    (README, lambda: f"four of its layers keep {kept(LONGER, 'drop-4')} of that without training"),
    (README, lambda: f"{kept(LONGER, 'distill-4')} distilled."),
    (README, lambda: f"for as long reach {spelt(variant('plain', 0, 100)['test'])} "),
    (
        README,
        lambda: f"better than chance on {sum(g['low'] > 0 for g in _gains('greedy'))} of the {len(_gains('greedy'))}",
    ),
    (
        README,
        lambda: "worse than chance on {}, {} and {} of them".format(
            *map(beaten_by_chance, ("leave-one-out", "block-influence", "fisher"))
        ),
    ),
    (README, lambda: f"a random one keeps {healed('random')}, the last layers alone {healed('last-first')}"),
    (
        README,
        lambda: "a test NDCG@10 of {}, {} and {} with three seeds".format(
            *(quality(f"ml-1m-2-layers-seed-{seed}") for seed in (0, 1, 2))
        ),
    ),
    (README, lambda: f"eight layers {quality('ml-1m-8-layers-25-epochs-seed-0')} with one seed"),
    (
        SEQUENTIAL,
        lambda: (
            f"was {spelt(variant('masked', 0)['test'])} after 15 epochs, "
            f"and {spelt(variant('plain', 0)['test'])} with next items"
        ),
    ),
    (
        SEQUENTIAL,
        lambda: (
            f"with 100 epochs {spelt(variant('masked', 0, 100)['test'])} and {spelt(variant('plain', 0, 100)['test'])}"
        ),
    ),
    (SEQUENTIAL, lambda: f"the genres changed test NDCG@10 by {gains('categories')} with three seeds"),
    (SEQUENTIAL, lambda: f"they changed test NDCG@10 by {gains('times')} with three seeds"),
    (SEQUENTIAL, lambda: f"a standard error of {errors('categories')} over the users: no gain"),
    (SEQUENTIAL, lambda: f"a standard error of {errors('times')} over the users: seeds differ"),
    (DATA, lambda: f"to splits within {largest_peak():.1f} GB of memory"),
    (TEXT, lambda: f"{cold_hits()} of {cold()['examples']} test targets that nobody had in training"),
    (
        TEXT,
        lambda: f"among the first 10 of {result('cold_start/results/2026-11-24-text/metrics.json')['data']['items']:,}",
    ),
]


def errors(name: str) -> str:
    told = [round(variant(name, seed)["gain_standard_error"], 3) for seed in (0, 1, 2)]
    return f"{min(told)} to {max(told)}"


def largest_peak() -> float:
    """GB that any run with 50 million events took, the last digit rounded up."""
    files = (BENCHMARKS / "data_at_scale" / "results").glob("*-preparing.json")
    rows = [row for file in files for row in result(str(file.relative_to(BENCHMARKS)))["rows"]]
    peak = max(row["peak_mb"] for row in rows if row["who"] == "lwa" and row["file"].startswith("m50/"))
    return ceil(peak / 100) / 10


def cold() -> Any:
    return result("cold_start/results/2026-11-24-text/metrics.json")["cold_start"]


def cold_hits() -> int:
    return round(cold()["models"]["teacher"]["recall@10"]["mean"] * cold()["examples"])


@pytest.mark.parametrize(("file", "sentence"), SENTENCES)
def test_a_sentence_says_what_was_measured(file: Path, sentence: Any):
    assert sentence() in file.read_text("utf-8")


def rows() -> dict[str, list[str]]:
    """The README's table of results, by model."""
    lines = README.read_text("utf-8").partition("<!-- result:begin -->")[2].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return {name: rest for name, *rest in cells[2:]}


def test_the_table_of_the_readme_is_that_of_the_run():
    measured = {m["name"]: m for m in result(f"{RESULT}/metrics.json")["models"]}
    timed, found = result(f"{RESULT}/performance.json")["latency"]["models"], rows()
    assert set(found) == set(measured)
    for name, (_, figure, share, weights, p50, ratio, _) in found.items():
        assert ndcg(RESULT, name) == figure
        assert share == ("–" if name == "teacher" else kept(RESULT, name))
        if weights == "–":
            continue
        assert f"{measured[name]['bytes_memory'] / 1e6:.1f} MB" == weights
        assert f"{timed[name]['p50']:.2f} ms" == p50
        assert ratio == ("–" if name == "teacher" else f"{timed[name]['ratio']['mean']:.2f}")


@pytest.mark.parametrize("file", READ, ids=lambda file: file.name)
def test_no_figure_is_without_a_result(file: Path):
    told = " ".join(sentence() for place, sentence in SENTENCES if place == file)
    text = "\n".join(line for line in prose(file).splitlines() if not line.startswith("|"))
    figures = set(re.findall(r"\b\d+\.\d{3,}\b|\b\d+\.\d(?= %)", text))

    assert set() == {figure for figure in figures if figure not in told} - set(NO_RESULT)
