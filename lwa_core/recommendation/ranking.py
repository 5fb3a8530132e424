"""Rank the full catalogue after each history: no sampled negatives, one rule for ties."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import attrs
import numpy as np
import torch
from numpy.typing import NDArray

from lwa_core.data import Examples, PreparedData
from lwa_core.data.dataset import lent
from lwa_core.errors import ModelError
from lwa_core.modeling.kernels.target_ranks import target_ranks
from lwa_core.types import History, Reporter

Scores: TypeAlias = Callable[[Sequence[History]], torch.Tensor]
"""Histories -> score of every item after each (histories, items), on any device; higher is better."""

LARGEST_TABLE = 2**26
"""At most this many scores are held at once (256 MB in float32)."""


@attrs.frozen(eq=False)
class Ranking:
    """Where a model puts the targets, and what it would recommend.

    Args:
        ranks: Rank of each target in the whole catalogue (examples,), 1 is best, behind all items of the same score. 0:
            the target cannot be recommended (it is in the history, where seen items are filtered, or its score is
            -inf); every metric counts a miss.
        top: Item indices, best first (examples, depth), no more than there are items; -1 where fewer items can be
            recommended.
        tied: How many other items have the target's score (examples,), where there are any; metrics are those that are
            expected where these come in any order.
        among_sampled: `ranks` and `tied` of each target among itself and a few items that were drawn (2, examples);
            None where none were.
    """

    ranks: NDArray[np.int64]
    top: NDArray[np.int32]
    tied: NDArray[np.int64] = attrs.field()
    among_sampled: NDArray[np.int64] | None = None

    @tied.default
    def _none_tied(self) -> NDArray[np.int64]:
        return np.zeros(len(self.ranks), dtype=np.int64)

    @property
    def depth(self) -> int:
        """Length of the top lists."""
        return int(self.top.shape[1])


@torch.no_grad()
def rank_examples(
    scores: Scores,
    data: PreparedData,
    examples: Examples,
    *,
    filter_seen: bool,
    depth: int,
    batch: int = 128,
    report: Reporter | None = None,
    negatives: int = 0,
    seed: int = 0,
) -> Ranking:
    """Rank the target of every example among all items.

    Items are ordered by falling score, in `top` those of equal score by rising index. `scores` is called once for a
    batch of histories of similar length; the order of the results is that of `examples`. With `negatives`, each target
    is ranked, too, among so many items that are neither it nor in its history; which depends on the seed alone.

    Raises:
        ModelError: `scores` gave NaN or +inf, or a table of another shape than (histories, items).
    """
    histories, targets = data.histories(examples), data.targets(examples)
    ranks, tied = np.zeros((2, len(examples)), dtype=np.int64)
    items = len(data.catalogue)
    depth = min(depth, items)
    top = np.full((len(examples), depth), -1, dtype=np.int32)
    among_sampled = np.zeros((2, len(examples)), dtype=np.int64) if negatives else None
    done = 0
    for rows in _batches(histories, max(1, min(batch, LARGEST_TABLE // max(items, 1)))):
        part = [histories[row] for row in rows]
        table = _checked(scores(lent(part)), (len(part), items))
        if filter_seen:
            table = without_seen(table, part)
        placed = target_ranks(table, torch.from_numpy(targets[rows]).to(table.device))
        ranks[rows], tied[rows] = (found.cpu().numpy() for found in placed)
        top[rows] = _top(table, depth)[0]
        if among_sampled is not None:
            few = [_target_and_unseen(items, histories[row], targets[row], negatives, (seed, row)) for row in rows]
            among_sampled[:, rows] = _ranked_among(table, few)
        done += len(rows)
        if report is not None:
            report.progress(done, len(examples))
    return Ranking(ranks, top, tied, among_sampled)


@torch.no_grad()
def top_items(
    scores: torch.Tensor, seen: Sequence[History] | None, k: int
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """The k best items of each row, by the same rule as `rank_examples`.

    Args:
        scores: (histories, items), higher is better.
        seen: Items of each row that must not be recommended; None lets everything be.
        k: How many.

    Returns:
        Item indices (histories, k), -1 where fewer items are left, and their scores, -inf there.

    Raises:
        ModelError: There are scores of NaN or +inf.
    """
    table = _checked(scores, tuple(scores.shape))
    return _top(table if seen is None else without_seen(table, seen), k)


def without_seen(scores: torch.Tensor, seen: Sequence[History]) -> torch.Tensor:
    """A copy of `scores` (histories, items) with -inf at the seen items of each row."""
    rows = torch.from_numpy(np.repeat(np.arange(len(seen)), [len(items) for items in seen]))
    columns = torch.from_numpy(np.concatenate([*seen, np.zeros(0, dtype=np.int64)]).astype(np.int64))
    low = torch.tensor(-torch.inf, dtype=scores.dtype, device=scores.device)
    return scores.index_put((rows.to(scores.device), columns.to(scores.device)), low)


def _target_and_unseen(
    items: int, history: History, target: int, count: int, seed: tuple[int, int]
) -> NDArray[np.int64]:
    """The target, and so many of the other items that are not in the history, or all of them if they are fewer."""
    unseen = np.ones(items, dtype=np.bool_)
    unseen[np.asarray(history)] = False
    unseen[target] = False
    others = np.flatnonzero(unseen)
    drawn = np.random.default_rng(seed).choice(others, size=min(count, len(others)), replace=False)
    return np.concatenate([[target], drawn])


def _ranked_among(scores: torch.Tensor, few: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """`target_ranks` of the first of some items of each row, among them (2, rows)."""
    placed = [
        target_ranks(
            row[torch.from_numpy(items).to(row.device)][None], torch.zeros(1, dtype=torch.int64).to(row.device)
        )
        for row, items in zip(scores, few, strict=True)
    ]
    return np.array([[int(ranks), int(tied)] for ranks, tied in placed], dtype=np.int64).T


def _batches(histories: Sequence[History], size: int) -> Iterator[NDArray[np.int64]]:
    """Rows of histories of similar length, longest first: what does not fit into memory fails at once."""
    order = np.argsort([-len(history) for history in histories], kind="stable")
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _checked(scores: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    if tuple(scores.shape) != shape:
        raise ModelError(f"the model gave scores of shape {tuple(scores.shape)}, not {shape} (histories, items)")
    # A sum is NaN or infinite where any score is, and costs far less than a look at every score of the table.
    if not bool(torch.isfinite(scores.sum(dtype=torch.float64))):
        wrong = int((torch.isnan(scores) | torch.isposinf(scores)).sum())
        if wrong:
            hint = "train with a lower learning rate, or leave out the compression step that broke it"
            raise ModelError(f"the model gave NaN or +inf for {wrong} of {scores.numel()} scores", hint)
    return scores


def _top(scores: torch.Tensor, k: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Sorting all items is slow and `topk` breaks ties as it likes: so `topk` first, then the ties are settled."""
    found = min(k, scores.shape[1])
    items = np.full((len(scores), k), -1, dtype=np.int32)
    values = np.full((len(scores), k), -np.inf)
    if not found or not len(scores):
        return items, values
    best, chosen = scores.topk(found, dim=1)
    last = best[:, -1:]
    tied = (scores >= last).sum(1) > found
    if bool(tied.any()):
        chosen[tied] = _lowest_of_equals(scores[tied], last[tied], found)
    chosen = chosen.sort(dim=1).values
    best, order = scores.gather(1, chosen).sort(dim=1, descending=True, stable=True)
    left = best.double().cpu().numpy()
    items[:, :found] = np.where(np.isneginf(left), -1, chosen.gather(1, order).cpu().numpy())
    values[:, :found] = left
    return items, values


def _lowest_of_equals(scores: torch.Tensor, last: torch.Tensor, k: int) -> torch.Tensor:
    """The k items of each row at or above the score `last`; of those equal to it, the ones of the lowest index."""
    above, equal = scores > last, scores == last
    room = k - above.sum(1, keepdim=True)
    chosen = above | (equal & (equal.cumsum(1, dtype=torch.int32) <= room))
    return chosen.nonzero()[:, 1].view(len(scores), k)
