"""Tiny real models: the built-in `sequential` recommender with random weights, and random histories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from lwa_core.data import Catalogue, TimedHistory
from lwa_core.data.timed import asks_for_times
from lwa_core.modeling.layers.layered import LayeredModel
from lwa_core.modeling.probing.probe import Probe
from lwa_core.plugins.protocols import Recommender
from lwa_core.plugins.registry import Registry
from lwa_core.recommendation.ranker import Ranker
from lwa_core.settings import unstructure
from lwa_core.types import LayerScores, Quiet, ScoreBoard


def tiny_recommender(**settings: Any) -> Recommender:
    """The built-in `sequential` recommender, small: 4 layers of width 16 where the settings do not say otherwise."""
    cls = Registry.discover().find("recommender", "sequential").load()
    recommender: Recommender = cls(**{"layers": 4, "width": 16, "max_length": 12, **settings})
    return recommender


def tiny_board(names: Sequence[str], depth: int = 4, *, scale: float = 1.0, seed: int = 0) -> ScoreBoard:
    """Scores for combining: normal tables of 1, 2, 3 … rows; those of the first scorer are multiplied by `scale`."""
    rng = np.random.default_rng(seed)
    tables = [rng.normal(size=(rows, depth)) for rows, _ in enumerate(names, start=1)]
    tables[0] *= scale
    return ScoreBoard({name: LayerScores(name, table) for name, table in zip(names, tables, strict=True)})


def tiny_probe(
    recommender: Recommender | None = None, *, examples: int = 20, items: int = 30, seed: int = 0, utility: str = "loss"
) -> Probe:
    """A probe of a tiny model with random weights, large enough that every layer changes the answers."""
    recommender = recommender or tiny_recommender()
    torch.manual_seed(seed)
    model = recommender.build(Catalogue(ids=tuple(f"item {i}" for i in range(items))), Quiet())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    rng = np.random.default_rng(seed)
    histories = [rng.integers(0, items, rng.integers(1, 15)).astype(np.int32) for _ in range(examples)]
    targets = rng.integers(0, items, examples)
    if asks_for_times(recommender):
        histories = [TimedHistory(history, rng.integers(0, 10**9, len(history)).cumsum()) for history in histories]
    probe = Probe(LayeredModel(model), recommender, histories, targets, utility=utility, batch=7, seed=seed)
    probe.training_targets = 50 * examples
    return probe


def tiny_ranker(*, items: int = 30, seed: int = 0, **settings: Any) -> Ranker:
    """A tiny model with random weights that answers requests; `settings` are those of `tiny_recommender`."""
    recommender = tiny_recommender(**settings)
    catalogue = Catalogue(ids=tuple(f"item {i}" for i in range(items)))
    torch.manual_seed(seed)
    model = recommender.build(catalogue, Quiet())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return Ranker(model.eval(), recommender, catalogue, "sequential", unstructure(recommender))
