"""How much each knob moves the figure: elasticities of a grid, indices of a drawn design, fits of learning curves."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl

from lwa_core.statistics.estimate import ten_digits
from lwa_core.statistics.seeds import seeds_estimate
from lwa_core.study.design import LEVELS, Knob, places, problem_of
from lwa_core.study.document import Study

NOTHING = 1e-12
"""A slope below this is that of a model that a knob does not reach."""


def elasticities(study: Study, frame: pl.DataFrame, headline: str) -> list[dict[str, Any]]:
    """Of each knob with positive numbers for values: d log figure / d log value, the other knobs held, over the seeds.

    The slope of a line by least squares through the points of one seed and one setting of the other knobs; the interval
    is over the seeds.
    """
    own = frame.filter((pl.col("kind") == "teacher") & (pl.col("metric") == headline) & (pl.col("value") > 0))
    found = []
    for knob in study.knobs:
        slopes: dict[int, list[float]] = {}
        groups: dict[tuple[Any, ...], list[tuple[float, float]]] = {}
        for settings, seed, value in own.select("settings", "seed", "value").iter_rows():
            told = json.loads(settings)
            at = _number(told.get(knob.name))
            if at is not None and at > 0:
                rest = tuple(sorted((name, told[name]) for name in told if name != knob.name and name in _names(study)))
                groups.setdefault((seed, rest), []).append((np.log(at), np.log(value)))
        for (seed, _), points in groups.items():
            across, up = np.array(points).T
            if len(set(across.tolist())) > 1:
                slopes.setdefault(seed, []).append(float(np.polyfit(across, up, 1)[0]))
        moved = any(abs(slope) > NOTHING for each in slopes.values() for slope in each)
        if moved and study.head.design == "grid":
            estimate = seeds_estimate(np.array([[np.mean(each)] for each in slopes.values()]))
            found.append({"knob": knob.name, **_told(estimate.mean, estimate.low, estimate.high), "seeds": len(slopes)})
    return found


def _names(study: Study) -> set[str]:
    return {knob.name for knob in study.knobs}


def _number(label: Any) -> float | None:
    try:
        return float(label)
    except (TypeError, ValueError):
        return None


def indices(study: Study, frame: pl.DataFrame, headline: str) -> list[dict[str, Any]]:
    """Of a drawn design, for each knob its Sobol indices (Saltelli et al. 2010) or its mean absolute effect (Morris).

    The figure of a cell is its mean over the seeds. Empty unless every cell is there.
    """
    design = study.head.design
    if design not in ("sobol", "morris"):
        return []
    knobs, cells = study.knobs, {cell.name: cell for cell in study.cells}
    own = frame.filter((pl.col("kind") == "teacher") & (pl.col("metric") == headline))
    means = dict(own.group_by("cell").agg(pl.col("value").mean()).iter_rows())
    by_values = {
        tuple(cells[cell].numbers[knob.name] for knob in knobs): mean for cell, mean in means.items() if cell in cells
    }
    drawn = places(design, knobs, study.head.samples, 0)
    rows = [tuple(float(knob.value(at)) for knob, at in zip(knobs, row, strict=True)) for row in drawn]
    if any(row not in by_values for row in rows):
        return []
    figures = np.array([by_values[row] for row in rows])
    return _sobol(knobs, figures) if design == "sobol" else _morris(knobs, drawn, figures)


def _sobol(knobs: tuple[Knob, ...], figures: Any) -> list[dict[str, Any]]:
    from SALib.analyze import sobol

    if np.ptp(figures) == 0:
        return []
    centred = (figures - figures.mean()) / figures.std()
    told = sobol.analyze(problem_of(knobs), centred, calc_second_order=False, seed=0)
    return [
        {
            "knob": knob.name,
            "first_order": _told(told["S1"][at], *_around(told["S1"][at], told["S1_conf"][at])),
            "total": _told(told["ST"][at], *_around(told["ST"][at], told["ST_conf"][at])),
        }
        for at, knob in enumerate(knobs)
    ]


def _morris(knobs: tuple[Knob, ...], drawn: Any, figures: Any) -> list[dict[str, Any]]:
    from SALib.analyze import morris

    told = morris.analyze(problem_of(knobs), drawn, figures, num_levels=LEVELS, seed=0)
    return [
        {
            "knob": knob.name,
            "mean_absolute_effect": _told(told["mu_star"][at], *_around(told["mu_star"][at], told["mu_star_conf"][at])),
            "spread": ten_digits(float(told["sigma"][at])),
        }
        for at, knob in enumerate(knobs)
    ]


def _around(value: float, half: float) -> tuple[float | None, float | None]:
    return (None, None) if not np.isfinite(half) else (float(value - half), float(value + half))


def _told(mean: float, low: float | None, high: float | None) -> dict[str, float | None]:
    values = {"mean": float(mean), "low": low, "high": high}
    return {name: None if value is None else ten_digits(value) for name, value in values.items()}
