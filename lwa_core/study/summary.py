"""What a study shows: figures over seeds, differences between cells, the cells not shown worse than the best."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import polars as pl
from numpy.typing import NDArray

from lwa_core.statistics.estimate import ten_digits
from lwa_core.statistics.seeds import (
    SeedsEstimate,
    equivalent,
    holm,
    not_shown_worse,
    p_value,
    seeds_estimate,
    seeds_needed,
)
from lwa_core.store.results import Store
from lwa_core.study.document import Study
from lwa_core.study.running import TESTED, Carried, values_of
from lwa_core.study.sensitivity import elasticities, indices

Floats = NDArray[np.float64]
LESS_IS_BETTER = ("perplexity", "loss")
HEADLINES = ("ndcg@10", "ndcg@", "accuracy", "perplexity", "macro_f1", "spearman")
"""Beginnings of the names of metrics, the first one that a table has being its headline."""
POPULARITY = ("popularity", "unigram", "majority")
"""The baseline that needs least: a training that ends no better has collapsed."""


@attrs.frozen
class Figures:
    """The figures of one model of a study.

    Args:
        frame: The rows that count.
        values: By cell and seed the figure of every test user; empty where the store has them no more.
        headline: The metric.
        model: Its name in every run.
    """

    frame: pl.DataFrame
    values: Mapping[tuple[str, int], Mapping[str, NDArray[np.float32]]]
    headline: str
    model: str

    def means(self, cell: str) -> dict[int, float]:
        """By seed."""
        own = self.frame.filter(
            (pl.col("cell") == cell) & (pl.col("model") == self.model) & (pl.col("metric") == self.headline)
        )
        return dict(zip(own["seed"].to_list(), own["value"].to_list(), strict=True))

    def table(self, cell: str, seeds: Sequence[int]) -> Floats:
        """Figures (seeds, users), or (seeds, 1) where those of the users are not there."""
        rows = [self.values.get((cell, seed), {}).get(self.model) for seed in seeds]
        known = [row for row in rows if row is not None]
        if seeds and len(known) == len(rows) and len({len(row) for row in known}) == 1:
            return np.stack(known).astype(np.float64)
        means = self.means(cell)
        return np.array([[means[seed]] for seed in seeds])

    def same_users(self, cells: Sequence[str], seeds: Sequence[int]) -> bool:
        """Whether the figures of some cells are of the same test users with each seed."""
        return all(len({_tested(self.values.get((cell, seed), {})) for cell in cells}) == 1 for seed in seeds)

    def pair(self, cell: str, other: str) -> tuple[Floats, Floats] | None:
        """The tables of two cells, of the seeds and users that both have; None where they share no seed."""
        seeds = sorted(self.means(cell).keys() & self.means(other).keys())
        if not seeds:
            return None
        first, second = self.table(cell, seeds), self.table(other, seeds)
        if first.shape != second.shape or not self.same_users([cell, other], seeds):
            first, second = first.mean(axis=1, keepdims=True), second.mean(axis=1, keepdims=True)
        return first, second


def _tested(values: Mapping[str, NDArray[Any]]) -> bytes:
    digest = values.get(TESTED)
    return b"" if digest is None else digest.tobytes()


def summarise(study: Study, carried: Carried, store: Store) -> dict[str, Any]:
    """Everything that the report shows, JSON-ready."""
    frame = carried.frame
    headline = headline_of(frame)
    values = _values(frame, store)
    names = frame.filter(pl.col("kind").is_in(["teacher", "student", "export", "control"]))["model"]
    models = names.unique(maintain_order=True).to_list()
    cells = [cell.name for cell in study.cells if cell.name in set(frame["cell"])]
    told = [_model(study, Figures(frame, values, headline, model), cells) for model in models] if headline else []
    return {
        "format": 1,
        "study": study.name,
        "recipe": study.head.recipe.name,
        "design": study.head.design,
        "seeds": list(study.head.seeds),
        "tune": {"trials": len(study.tune), "seed": study.head.seeds[0]} if study.tune else None,
        "headline": headline,
        "less_is_better": _less(headline),
        "reference": study.reference,
        "margin": study.head.margin,
        "knobs": [{"name": knob.name, "key": knob.key, "values": list(knob.labels)} for knob in study.knobs],
        "cells": [_cell(frame, cell, headline) for cell in cells],
        "models": told,
        "elasticities": elasticities(study, frame, headline) if headline else [],
        "indices": indices(study, frame, headline) if headline else [],
        "failures": {title: str(error) for title, error in carried.failures.items()},
        "runs": len(study.runs),
        "done": len(values),
        "machines": sorted(set(frame["machine"].drop_nulls().to_list())),
        "lwa": sorted(set(frame["lwa"].drop_nulls().to_list())),
    }


def headline_of(frame: pl.DataFrame) -> str:
    """The metric of a table that sentences are about; empty where it has none."""
    there = frame["metric"].unique(maintain_order=True).to_list()
    found = [name for start in HEADLINES for name in there if name.startswith(start) and " " not in name]
    return str(found[0]) if found else ""


def _less(headline: str) -> bool:
    return headline.startswith(LESS_IS_BETTER)


def _cell(frame: pl.DataFrame, cell: str, headline: str) -> dict[str, Any]:
    """What was set, what it costs, and in how many seeds the training collapsed."""
    own = frame.filter(pl.col("cell") == cell)
    settings = json.loads(own["settings"][0])
    tuned = [json.loads(each) for each in own["settings"].unique(maintain_order=True).to_list()]
    costs: dict[str, dict[str, float]] = {}
    skipped = ("score ", "kept ")
    for model, metric, mean in (
        own.filter(pl.col("kind").is_in(["teacher", "student", "export"]))
        .group_by("model", "metric", maintain_order=True)
        .agg(pl.col("value").mean())
        .iter_rows()
    ):
        if not metric.startswith(skipped):
            costs.setdefault(model, {})[metric] = ten_digits(mean)
    return {
        "cell": cell,
        "settings": settings,
        "tuned": tuned if len(tuned) > 1 else [],
        "seeds": sorted(own["seed"].unique().to_list()),
        "figures": costs,
        "profile": _profile(own),
        "collapsed": _collapsed(own, headline),
    }


def _profile(own: pl.DataFrame) -> dict[str, list[float]]:
    """By scorer the mean score of each layer over the seeds."""
    scored = own.filter(pl.col("metric").str.starts_with("score ")).group_by("metric", maintain_order=True)
    found: dict[str, dict[int, float]] = {}
    for metric, mean in scored.agg(pl.col("value").mean()).iter_rows():
        name, _, layer = metric.removeprefix("score ").rpartition(" ")
        found.setdefault(name, {})[int(layer)] = ten_digits(mean)
    return {name: [layers[layer] for layer in sorted(layers)] for name, layers in found.items()}


def _collapsed(own: pl.DataFrame, headline: str) -> dict[str, int] | None:
    """In how many seeds the full model is no better than the baseline that needs least; None where there is none."""
    of = own.filter(pl.col("metric") == headline)
    teacher = dict(of.filter(pl.col("kind") == "teacher").select("seed", "value").iter_rows())
    least = dict(of.filter(pl.col("model").is_in(POPULARITY)).select("seed", "value").iter_rows())
    seeds = teacher.keys() & least.keys()
    if not seeds:
        return None
    worse = [
        seed for seed in seeds if (teacher[seed] >= least[seed] if _less(headline) else teacher[seed] <= least[seed])
    ]
    return {"seeds": len(seeds), "collapsed": len(worse)}


def _model(study: Study, figures: Figures, cells: Sequence[str]) -> dict[str, Any]:
    """One model over all cells that have it: figures, differences to the reference, the set of the best."""
    having = [cell for cell in cells if figures.means(cell)]
    tables = {cell: figures.table(cell, sorted(figures.means(cell))) for cell in having}
    estimates = {cell: seeds_estimate(table) for cell, table in tables.items()}
    return {
        "model": figures.model,
        "cells": {cell: _told(estimate) for cell, estimate in estimates.items()},
        "not_shown_worse": _best_set(figures, having),
        "differences": _differences(study, figures, having, estimates),
    }


def _best_set(figures: Figures, cells: Sequence[str]) -> list[str] | None:
    """Of the seeds that all cells have; None where there are none."""
    seeds = sorted(set.intersection(*(set(figures.means(cell)) for cell in cells))) if cells else []
    if not seeds:
        return None
    tables = {cell: figures.table(cell, seeds) for cell in cells}
    if len({table.shape for table in tables.values()}) > 1 or not figures.same_users(cells, seeds):
        tables = {cell: table.mean(axis=1, keepdims=True) for cell, table in tables.items()}
    sign = -1.0 if _less(figures.headline) else 1.0
    return not_shown_worse({cell: sign * table for cell, table in tables.items()})


def _differences(
    study: Study, figures: Figures, cells: Sequence[str], estimates: Mapping[str, SeedsEstimate]
) -> dict[str, dict[str, Any]]:
    """Of each cell to the reference, paired by seed and user."""
    reference = study.reference
    if reference not in estimates:
        return {}
    found: dict[str, tuple[SeedsEstimate, Floats]] = {}
    for cell in cells:
        pair = figures.pair(cell, reference) if cell != reference else None
        if pair is not None:
            found[cell] = seeds_estimate(pair[0] - pair[1]), pair[0] - pair[1]
    adjusted = holm([p_value(estimate) for estimate, _ in found.values()])
    margin = study.head.margin * abs(estimates[reference].mean)
    return {
        cell: {
            **_told(estimate),
            "p_holm": ten_digits(p),
            "shown": _shown(estimate, p, figures.headline),
            "equivalent": equivalent(estimate, margin),
            "seeds_for_margin": seeds_needed(difference, margin) if margin > 0 else None,
        }
        for (cell, (estimate, difference)), p in zip(found.items(), adjusted, strict=True)
    }


def _shown(estimate: SeedsEstimate, p: float, headline: str) -> str | None:
    """`better` or `worse`, where that is shown for all comparisons together."""
    if p >= 0.05 or estimate.mean == 0:
        return None
    return "better" if (estimate.mean > 0) is not _less(headline) else "worse"


def _told(estimate: SeedsEstimate) -> dict[str, Any]:
    values = {"mean": estimate.mean, "low": estimate.low, "high": estimate.high, "by_seed": estimate.by_seed}
    told: dict[str, Any] = {name: None if value is None else ten_digits(value) for name, value in values.items()}
    return {**told, "seeds": estimate.seeds}


def seeds_by_cell(
    study: Study, frame: pl.DataFrame, store: Store, model: str, margin: float, power: float
) -> dict[str, int | None]:
    """How many seeds it takes to see a difference of a share of the reference's figure, for each other cell."""
    figures = Figures(frame, _values(frame, store), headline_of(frame), model)
    found: dict[str, int | None] = {}
    for cell in study.cells:
        pair = figures.pair(cell.name, study.reference) if cell.name != study.reference else None
        if pair is not None:
            found[cell.name] = seeds_needed(pair[0] - pair[1], margin * abs(float(pair[1].mean())), power)
    return found


def _values(frame: pl.DataFrame, store: Store) -> dict[tuple[str, int], Mapping[str, NDArray[np.float32]]]:
    """By cell and seed the figures of every test user."""
    keys = frame.select("cell", "seed", "key").unique(maintain_order=True)
    return {(cell, seed): values_of(store, key) for cell, seed, key in keys.iter_rows()}


def compared(frame: pl.DataFrame, store: Store, first: str, second: str) -> list[dict[str, Any]]:
    """Two cells of a table, model by model, paired by seed and user."""
    headline = headline_of(frame)
    values = _values(frame, store)
    told = []
    for model in frame.filter(pl.col("metric") == headline)["model"].unique(maintain_order=True).to_list():
        figures = Figures(frame, values, headline, model)
        pair = figures.pair(first, second)
        if pair is None:
            continue
        estimate = seeds_estimate(pair[0] - pair[1])
        p = p_value(estimate)
        told.append(
            {
                "model": model,
                "metric": headline,
                "first": ten_digits(float(pair[0].mean())),
                "second": ten_digits(float(pair[1].mean())),
                "difference": _told(estimate),
                "p": ten_digits(p),
                "shown": _shown(estimate, p, headline),
                "users": pair[0].shape[1] if pair[0].shape[1] > 1 else None,
            }
        )
    return told
