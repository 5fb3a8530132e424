"""How often do the intervals hold the truth? `python benchmarks/coverage/measure.py` prints a table of all cases."""

from __future__ import annotations

import argparse
import datetime
import json
from pathlib import Path

import numpy as np
from simulate import (
    DISTRIBUTIONS,
    Case,
    Draw,
    correlation_draws,
    mean_draws,
    metric_draws,
    settled_draws,
    table_draws,
    text_draws,
)

NOMINAL, PROMISED = 0.95, 0.93
RESULTS = Path(__file__).parent / "results"
TEXTS = ("loss", "difference of losses", "ratio of losses")
PERPLEXITIES = ("perplexity", "difference of perplexities", "ratio of perplexities")
SKEWED = ("log-normal 1", "70 % zeros, log-normal 1", "exponential", "difference of two log-normal 1")


def metric_cases() -> list[Case]:
    """Users with few and with many hits; models that are equally good, and one that has more hits."""
    made = []
    for kind in ("mean", "difference", "share kept"):
        for size in (2, 5, 20, 50, 200, 1000):
            for hits in (0.02, 0.05, 0.1, 0.3):
                for better in (0.0, 0.05) if kind != "mean" else (0.0,):
                    data = f"{hits:.0%} hits" + (f", {better:.0%} more" if better else "")
                    quick = size in (2, 50, 200) and hits in (0.05, 0.1)
                    made.append(Case(f"NDCG@10, {kind}", data, size, metric_draws(kind, size, hits, better), quick))
    return made


def other_cases() -> list[Case]:
    """Everything that needs no torch, but the metrics."""
    made = [
        Case("score of a layer", data, size, mean_draws(size, data), quick=size == 64)
        for data in DISTRIBUTIONS
        for size in (16, 40, 64, 256, 1024)
    ]
    made += [
        Case(kind, f"log-normal {spread}", size, text_draws(kind, size, spread), quick=False)
        for kind in (*TEXTS, *PERPLEXITIES)
        for spread in (0.5, 1.0)
        for size in (40, 200, 1000)
    ]
    made += [
        Case(kind, data, size, correlation_draws(kind, size, data), quick=size == 64 and data in ("tied", "strong"))
        for kind in ("correlation", "difference of correlations")
        for data in ("weak", "medium", "strong", "tied", "80 % zeros")
        for size in (40, 64, 200, 1000)
    ]
    made += [
        Case(kind, f"{noise}, spread {spread}", size, table_draws(kind, size, noise, spread), quick=False)
        for kind in ("regret of a fixed set", "regret of the best set here", "best set here less the full model")
        for noise in ("normal", "log-normal")
        for spread in (0.0, 0.1, 0.3)
        for size in (64, 200, 1000)
    ]
    made += [Case("settled", data, size, settled_draws(size, data)) for data in SKEWED for size in (64, 256)]
    return made


def scorer_cases() -> list[Case]:
    """Scores whose samples are drawings."""
    from sampled import scorer_draws

    return [
        Case(scorer, f"game of {depth} layers", size, scorer_draws(scorer, size, depth))
        for scorer, sizes in (("kernel-shap", (40, 64, 128)), ("shapley", (16, 40, 64)), ("banzhaf", (64, 256)))
        for depth in (4, 8, 12)
        for size in sizes
    ]


def coverage(draws: list[Draw]) -> dict[str, float | None]:
    """Shares of the draws: printed at all, and of those the truth held, now and before; widths over those before."""
    now = [(draw, draw.now) for draw in draws if draw.now is not None]
    before = [(draw, draw.before) for draw in draws if draw.before is not None]
    wider = [
        (draw.now[1] - draw.now[0]) / (draw.before[1] - draw.before[0])
        for draw in draws
        if draw.now and draw.before and draw.before[1] > draw.before[0]
    ]
    return {
        "printed": len(now) / len(draws),
        "held": held(now),
        "printed_before": len(before) / len(draws),
        "held_before": held(before),
        "width": float(np.median(wider)) if wider else None,
    }


def held(found: list[tuple[Draw, tuple[float, float]]]) -> float | None:
    """How often the truth is inside, up to the rounding of the last digits."""
    if not found:
        return None
    return float(np.mean([low - 1e-12 <= draw.truth <= high + 1e-12 for draw, (low, high) in found]))


def measure(case: Case, draws: int, seed: int = 0) -> dict[str, object]:
    """The coverage of one case from so many samples."""
    found = coverage(list(case.draws(np.random.default_rng(seed), draws)))
    return {"figure": case.figure, "data": case.data, "size": case.size, **found}


def line(row: dict[str, object]) -> str:
    """A row of the table."""
    shown = [_percent(row[key]) for key in ("held_before", "held", "printed")]
    width = "" if row["width"] is None else f"{row['width']:.2f}"
    return f"| {row['figure']} | {row['data']} | {row['size']:,} | {' | '.join(shown)} | {width} |"


def _percent(share: object) -> str:
    return "none" if share is None else f"{100 * float(str(share)):.1f}"


def main() -> None:
    """Measure every case, print the table, and what falls short."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000, help="samples of each case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", default="", help="only cases whose figure begins so")
    parser.add_argument("--save", action="store_true", help="write the figures to results/")
    asked = parser.parse_args()
    cases = [
        case for case in (*metric_cases(), *other_cases(), *scorer_cases()) if case.figure.startswith(asked.figure)
    ]
    print("| figure | data | size | held before, % | held now, % | printed, % | width, times |\n" + "| --- " * 7 + "|")
    rows = []
    for case in cases:
        rows.append(measure(case, asked.draws, asked.seed))
        print(line(rows[-1]), flush=True)
    lowest = min((row for row in rows if row["held"] is not None), key=lambda row: float(str(row["held"])))
    print(f"\nlowest: {line(lowest)}")
    if asked.save:
        told = {"draws": asked.draws, "seed": asked.seed, "cases": rows}
        path = RESULTS / f"{datetime.date.today().isoformat()}.json"
        path.write_text(json.dumps(told, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
