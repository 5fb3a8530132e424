"""Train any model of a recommender on prepared data: what fitting, distilling and healing share."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch

from lwa_core.data import PreparedData
from lwa_core.errors import DataError, PluginError
from lwa_core.modeling.devices import device
from lwa_core.modeling.files.precision import cast
from lwa_core.modeling.kernels.matmul import fast_linear_maps
from lwa_core.modeling.probing.batches import HINT, checked, moved
from lwa_core.plugins.protocols import Adapting, Recommender, Trainable, UsesTransitions, uses_transitions
from lwa_core.recommendation.ranking import rank_examples
from lwa_core.recommendation.transitions import TransitionSettings, fit_transitions
from lwa_core.recommendation.transitions_tuning import tune_transitions
from lwa_core.statistics.rank_metrics import ndcg
from lwa_core.training import processes
from lwa_core.training.trainer import Trained, train
from lwa_core.types import Batch, History, Reporter, TrainingSettings

SHARES = (1.0, 0.5, 0.25, 0.125, 0.0625)
"""How much of a network may be heard beside a table of transitions; powers of 2, which rounding leaves alone."""
CUTOFF = 10
"""Of the metric that stops training, and by which a table of transitions is tuned that nobody tuned before."""


def fit_model(
    recommender: Recommender,
    data: PreparedData,
    *,
    folder: Path,
    seed: int,
    filter_seen: bool,
    report: Reporter,
    precision: str = "float32",
    epochs: int | None = None,
    stop_after: int | None = None,
    transitions: TransitionSettings | None = None,
    share: float | None = None,
) -> tuple[torch.nn.Module, Trained]:
    """A fresh model of the recommender, trained on the training part of the data.

    Its weights are trained in float32, and then put into `precision`. With `epochs`, for at most so many; with
    `stop_after`, for just so many of those that there would be, whatever validation would say. `transitions` are the
    settings of the table for a recommender that uses it, and `share` how much of its network is heard besides; they are
    chosen on validation where left out.

    Raises:
        DataError: The recommender looks at the times of events, and the data has none.
    """
    data = data.for_recommender(recommender).only("validation")
    torch.manual_seed(seed)
    model = cast(recommender.build(data.catalogue, report).to(device()), "float32")
    adding = recommender if uses_transitions(recommender) else None
    if adding is not None:
        if transitions is None:
            transitions = tune_transitions(data, k=CUTOFF, filter_seen=filter_seen, seed=seed, report=report).settings
        sequences = data.only().training_sequences()
        table = fit_transitions(sequences, data.catalogue, transitions)
        model = adding.with_transitions(model, table, sequences).to(device())
    adapting = recommender if isinstance(recommender, Adapting) else None
    if adapting is not None:
        model = adapting.adapt(model, data.only().training_sequences(), report)
    settings = recommender.training()
    if epochs is not None:
        settings = attrs.evolve(settings, epochs=min(epochs, settings.epochs))
    trained = train_on(
        recommender,
        data,
        model,
        lambda model, batch: recommender.loss(model, batch).overall,
        settings,
        folder=folder,
        seed=seed,
        filter_seen=filter_seen,
        report=report,
        precision=precision,
        stop_after=stop_after,
    )
    if adding is not None and trained.history:
        if share is None:
            share = _best_share(adding, model, partial(validation_ndcg, recommender, model, data, filter_seen))
        adding.weigh_network(model, share)
        trained = attrs.evolve(trained, share=share)
    kept = model if adapting is None else adapting.merge(model)
    return cast(kept, precision).eval(), trained


def _best_share(adding: UsesTransitions, model: torch.nn.Module, validate: Callable[[], float]) -> float:
    """By what a network's part of the scores is best multiplied, by NDCG@10 of validation; the largest of equals.

    Its loss lets a network say more than ranks well: logits of items that nobody chose count as much as those that
    stand near the top.
    """
    found = []
    for _ in SHARES:
        found.append(processes.from_first(validate))
        adding.weigh_network(model, 0.5)
    adding.weigh_network(model, 2.0 ** len(SHARES))
    return SHARES[int(np.argmax(found))]


def validation_ndcg(recommender: Recommender, model: torch.nn.Module, data: PreparedData, filter_seen: bool) -> float:
    """Mean NDCG@10 of the validation examples."""
    scores = partial(score_histories, recommender, model)
    ranking = rank_examples(scores, data, data.validation, filter_seen=filter_seen, depth=CUTOFF)
    return float(ndcg(ranking.ranks, CUTOFF, ranking.tied).mean()) if len(data.validation) else 0.0


def train_on(
    recommender: Recommender,
    data: PreparedData,
    model: torch.nn.Module,
    loss: Callable[[torch.nn.Module, Batch], torch.Tensor],
    settings: TrainingSettings,
    *,
    folder: Path,
    seed: int,
    filter_seen: bool,
    report: Reporter,
    precision: str = "float32",
    stop_after: int | None = None,
) -> Trained:
    """Train `model` in place by the core's loop, stopped by NDCG@10 on the validation examples, or after an epoch.

    Raises:
        DataError: Training is to be stopped, and every target is one that filtering seen items hides: the metric would
            be 0 in every epoch, and the first one be kept.
    """
    if filter_seen and len(data.validation) and data.seen(data.validation).all():
        raise DataError(
            "every validation target is already in its history, where filtering seen items hides it: nothing would say "
            "which epoch is best",
            hint='set filter_seen = false (table [evaluate] of a recipe), or duplicates = "first" (table [filter])',
        )

    def collate(windows: Sequence[History]) -> Batch:
        return checked(recommender.training_batch(windows), recommender, len(windows))

    def validate(current: torch.nn.Module) -> float:
        return validation_ndcg(recommender, current, data, filter_seen)

    windows = windows_of(recommender, data)
    trained = train(
        model,
        loss,
        windows=windows,
        collate=collate,
        evaluate=validate,
        settings=settings,
        folder=folder,
        seed=seed,
        report=report,
        precision=precision,
        stop_after=stop_after,
    )
    if not trained.history:
        return trained
    return attrs.evolve(trained, windows=len(windows), targets=_targets(collate, windows, settings.batch, seed))


def _targets(collate: Callable[[Sequence[History]], Batch], windows: list[History], batch: int, seed: int) -> int:
    """How many targets batches of all windows have together; where they are drawn, in one drawing by the seed."""
    windows = sorted(windows, key=len)  # as in training, so that little is padded
    with generators_kept():
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        labels = (collate(windows[start : start + batch])["labels"] for start in range(0, len(windows), batch))
        return sum(int(torch.count_nonzero(each)) for each in labels)


@contextmanager
def generators_kept() -> Iterator[None]:
    """Leave the global generators of `random`, numpy and torch as they were."""
    states = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def windows_of(subject: Trainable, data: PreparedData) -> list[History]:
    """What a subject trains on, made of nothing but the users' training parts.

    Raises:
        PluginError: It gives something else than a list of windows, or none at all.
    """
    windows: Any = subject.training_windows(data.only().training_sequences())
    kind = f"{type(subject).__module__}.{type(subject).__qualname__}"
    if not isinstance(windows, Sequence) or not all(isinstance(window, np.ndarray) for window in windows):
        raise PluginError(f"`training_windows` of {kind} gave no list of arrays", HINT)
    if not windows:
        longest = max(map(len, data.training_sequences()), default=0)
        raise PluginError(f"`training_windows` of {kind} gave no windows of sequences up to {longest} long", HINT)
    return list(windows)


def score_histories(recommender: Recommender, model: torch.nn.Module, histories: Sequence[History]) -> torch.Tensor:
    """Scores of all items after each history (histories, items), on the model's device, without gradients."""
    return scoring(recommender, model, histories)()


def scoring(
    recommender: Recommender, model: torch.nn.Module, histories: Sequence[History]
) -> Callable[[], torch.Tensor]:
    """What `score_histories` does once the histories are a batch on the model's device: the network alone."""
    with torch.no_grad():
        batch = moved(recommender.example_batch(histories), model)

    def scores() -> torch.Tensor:
        with torch.no_grad(), fast_linear_maps() if len(histories) > 1 else nullcontext():
            return recommender.scores(model, batch)

    return scores
