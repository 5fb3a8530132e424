"""What a recommender's answers may not depend on: the target, the other rows of a batch, and padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from lwa_core.data import TimedHistory
from lwa_core.errors import PluginError
from lwa_core.modeling.probing.batches import checked, moved
from lwa_core.plugins.protocols import Recommender
from lwa_core.recommendation.fitting import score_histories
from lwa_core.types import Batch, History

TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6, torch.bfloat16: 0.1, torch.float16: 0.02}
"""Differences that are rounding, as shares of how much the answers differ among themselves."""

REVERSED = -0.5
"""A rank correlation of scores and logits below which one of them has the wrong sign."""

HINT = "docs/plugins.md says what a recommender's batches and answers may hold"


def assert_independent(
    recommender: Recommender,
    model: torch.nn.Module,
    histories: Sequence[History],
    targets: NDArray[np.int64],
    windows: Sequence[History],
    items: int,
) -> None:
    """See that a model's answers depend on nothing but the history that is asked about.

    Args:
        recommender: Makes the batches, and says what the model answers.
        model: A model of it, in eval mode; what its weights are makes no difference.
        histories: A few histories of different lengths.
        targets: The item that followed each (examples,).
        windows: A few training windows.
        items: How many there are.

    Raises:
        PluginError: Scores are no finite table (examples, items); or the same question gets another answer when it is
            asked again, when the target is another one, or beside other or longer histories.
    """
    with torch.no_grad():
        for objection in _objections(recommender, model, histories, targets, windows, items):
            if objection is not None:
                raise PluginError(objection, HINT)


def _objections(
    recommender: Recommender,
    model: torch.nn.Module,
    histories: Sequence[History],
    targets: NDArray[np.int64],
    windows: Sequence[History],
    items: int,
) -> Iterator[str | None]:
    asked = _Asked(recommender, model)
    yield _objection_to_scores(asked, histories, items)
    yield _objection_to_targets(asked, histories, targets, items)
    yield _objection_to_company(asked, histories)
    yield _objection_to_training(asked, windows, items)
    yield _objection_to_order(asked, histories, targets)


class _Asked:
    """A recommender and its model, asked on the model's device; answers come to the CPU."""

    def __init__(self, recommender: Recommender, model: torch.nn.Module) -> None:
        self.recommender, self.model = recommender, model
        self.kind = next(model.parameters()).dtype

    def scores(self, histories: Sequence[History]) -> torch.Tensor:
        return _comparable(score_histories(self.recommender, self.model, histories))

    def scores_of(self, batch: Batch) -> torch.Tensor:
        return _comparable(self.recommender.scores(self.model, moved(batch, self.model)))

    def batch(self, histories: Sequence[History], targets: NDArray[np.int64]) -> Batch:
        given = torch.from_numpy(targets)
        return checked(self.recommender.example_batch(histories, targets), self.recommender, len(histories), given)

    def encoded(self, batch: Batch) -> torch.Tensor:
        return self.recommender.encode(self.model, moved(batch, self.model))[0].double().cpu()

    def differ(self, one: torch.Tensor, other: torch.Tensor) -> bool:
        """Whether answers (examples, numbers) are others, by more than rounding."""
        return bool(self.different(one, other).any())

    def different(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """Which rows are (examples,)."""
        if one.shape != other.shape:
            return torch.ones(len(one), dtype=torch.bool)
        spread = (one - one.mean(dim=1, keepdim=True)).abs().amax(dim=1).clamp(min=1e-9)
        return ~((one - other).abs().amax(dim=1) <= TOLERANCE.get(self.kind, 1e-3) * spread)


def _comparable(scores: torch.Tensor) -> torch.Tensor:
    """Scores on the CPU, with the least finite one of its row in the place of −∞, the score of what is never wanted."""
    scores = scores.double().cpu()
    never = scores.isneginf()
    least = scores.masked_fill(never, torch.inf).amin(dim=-1, keepdim=True).clamp(max=torch.finfo(scores.dtype).max)
    return torch.where(never, least, scores)


def _objection_to_scores(asked: _Asked, histories: Sequence[History], items: int) -> str | None:
    scores = asked.scores(histories)
    if scores.shape != (len(histories), items):
        return f"`scores` gives a table {tuple(scores.shape)}, not ({len(histories)} histories, {items} items)"
    if not bool(torch.isfinite(scores).all()):
        return "`scores` gives scores that are not finite"
    if asked.differ(scores, asked.scores(histories)):
        return "`scores` gives other scores when the same histories are asked about again"
    return None


def _objection_to_targets(
    asked: _Asked, histories: Sequence[History], targets: NDArray[np.int64], items: int
) -> str | None:
    others = (targets + 1 + np.arange(len(targets)) % max(1, items - 1)) % items
    batch, changed = asked.batch(histories, targets), asked.batch(histories, others)
    if asked.differ(asked.encoded(batch), asked.encoded(changed)):
        return "`encode` gives other states where only the target is another one: the target is seen"
    if asked.differ(asked.scores_of(batch), asked.scores_of(changed)):
        return "`scores` gives other scores where only the target in the batch is another one"
    return None


def _objection_to_company(asked: _Asked, histories: Sequence[History]) -> str | None:
    """Each history alone, beside others of its length, and beside the longest."""
    longest = max(histories, key=len)
    for place, history in enumerate(histories):
        alone = asked.scores([history])
        alike = [other[: len(history)] for other in (*histories[:place], *histories[place + 1 :])]
        alike = [other for other in alike if len(other) == len(history)]
        if alike and asked.differ(alone, asked.scores([history, *alike])[:1]):
            return "`scores` gives a history other scores beside other histories: the rows of a batch mix"
        if len(longest) > len(history) and asked.differ(alone, asked.scores([history, longest])[:1]):
            return "`scores` gives a history other scores beside a longer one: padding is seen, or the rows mix"
    return None


def _objection_to_training(asked: _Asked, windows: Sequence[History], items: int) -> str | None:
    """Whether the states that are to predict an item change with it, in batches that are trained on.

    Of masked items a few may be left as they are (BERT's own recipe leaves a tenth), so most of them must not change.
    """
    seen = changed = 0
    for window in windows:
        for place in sorted({len(window) // 2, len(window) - 1}):
            found = _changed_states(asked, window, _with_item(window, place, (int(window[place]) + 1) % items))
            seen, changed = seen + sum(found), changed + len(found)
    if changed and 2 * seen > changed:
        return "in batches of `training_batch` states change with the item that they are to predict: the target is seen"
    return None


def _with_item(window: History, place: int, item: int) -> History:
    """The window with another item at one place."""
    changed = np.array(window)
    changed[place] = item
    if isinstance(window, TimedHistory) and window.times is not None:
        return TimedHistory(changed, window.times)
    return changed


def _changed_states(asked: _Asked, window: History, other: History) -> list[bool]:
    """For every target that is another one in `other`: whether the state that is to predict it is another one too."""
    batches = [_drawn_alike(asked, each) for each in (window, window, other)]
    first, again, changed = batches
    if (
        any(not torch.equal(first[name], again[name]) for name in first)
        or (first["labels"] > 0).sum() != (changed["labels"] > 0).sum()
    ):
        return []  # it draws by other means than torch's generator: what changed cannot be told from what was drawn
    states, targets = asked.recommender.encode(asked.model, moved(first, asked.model))
    others, new = asked.recommender.encode(asked.model, moved(changed, asked.model))
    moved_on = asked.different(states.double().cpu(), others.double().cpu())
    return [bool(flag) for flag in moved_on[(targets != new).cpu()]]


def _drawn_alike(asked: _Asked, window: History) -> Batch:
    """A training batch of one window, with what is drawn drawn by the same numbers each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return checked(asked.recommender.training_batch([window]), asked.recommender, 1)


def _objection_to_order(asked: _Asked, histories: Sequence[History], targets: NDArray[np.int64]) -> str | None:
    """Whether `head` after `encode`, by which layers are judged, ranks the other way round than `scores`."""
    batch = moved(asked.batch(histories, targets), asked.model)
    hidden, given = asked.recommender.encode(asked.model, batch)
    if not torch.equal(given.cpu(), torch.from_numpy(targets)):
        return "`encode` gives other targets than the batch asks about, or in another order"
    logits = asked.recommender.head(asked.model, hidden).double().cpu()
    scores = asked.scores(histories)
    if logits.shape != scores.shape:
        return f"`head` gives logits {tuple(logits.shape)}, and `scores` a table {tuple(scores.shape)}"
    ranks = [table.argsort(dim=1).argsort(dim=1).double() for table in (logits, scores)]
    agreement = float(torch.corrcoef(torch.stack([table.flatten() for table in ranks]))[0, 1])
    if agreement < REVERSED:
        return f"`scores` ranks the other way round than `head` after `encode` (rank correlation {agreement:.2f})"
    return None
