"""An untrained table of transitions: what follows what, over a wide window and the whole history.

    score(b) = Σᵢ δⁱ g(W[hᵢ, b]) + λ Σᵢ δ_fⁱ cos(hᵢ, b) + η log p(b),   h₀ the last item of the history

T is Σ_d dist(d) (C_d + ρ C_dᵀ) with every row divided by its sum r, where C_d counts the pairs of items that are d
places apart in a training sequence, d ≤ w, and dist(d) = f^(d−1) / d^q. W is T · (r / mean r)^(1−α) / (n p)^β: what
many events speak for counts more, what everybody has anyway counts less. g is log(1 + x / μ), or the identity. p is the
share of an item among the n items' training events. With one item of history, w = 1, ρ = 0, β = η = 1 and the
logarithm this orders as the smoothed bigram does. After the untrained heuristic of arXiv 2605.07125, whose hops of more
than one step are left out: they moved the figures little, and T² is a dense table.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from lwa_core.data import Catalogue
from lwa_core.data.dataset import concatenate
from lwa_core.types import History

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float64]

ENTRIES = 2**25
"""Most entries of the table, 12 bytes each: of n items every one keeps its `ENTRIES` / n strongest transitions."""
PAIRS = 2**23
"""About how many pairs of events are counted at once: bounds the memory of fitting."""
COMMON = 10_000
"""A term that stands in more items than this tells none of them apart, and would cost each request as many steps."""
ABSENT = 0.5
"""Training events that an item counts as where it has none, so that log p is finite."""
GRID = 2.0**32
"""One over the difference by which two scores count as different: sums in another order are equal again."""


@attrs.frozen
class Counting:
    """Which pairs of events count, and how much.

    Args:
        window: Largest distance w of a pair.
        fade: f, the factor from one distance to the next; 1: none.
        power: q, dist(d) falls as d^−q; 0: it does not.
        reverse: ρ, the weight of a pair in the other direction.
    """

    window: int = 8
    fade: float = 1.0
    power: float = 1.0
    reverse: float = 0.0

    def weights(self) -> Floats:
        """dist(1), dist(2), … dist(w) (window,)."""
        distance = np.arange(1, self.window + 1, dtype=np.float64)
        return np.asarray(self.fade ** (distance - 1) / distance**self.power)


@attrs.frozen
class TransitionSettings:
    """The knobs of the formula.

    Args:
        counting: Of the table T.
        evidence: α, 0: a row counts as the events behind it, 1: all rows count alike.
        correction: β, how far an item's popularity is divided out of W.
        scale: μ of the logarithm; None: g is the identity.
        history: How many of the last items are looked at.
        decay: δ, an item's weight over that of the item after it.
        features: λ, the weight of the cosines; 0 where the items have neither titles nor categories.
        features_decay: δ_f.
        popularity: η, the weight of log p.
    """

    counting: Counting = attrs.field(factory=Counting)
    evidence: float = 0.5
    correction: float = 0.75
    scale: float | None = 1e-3
    history: int = 12
    decay: float = 0.7
    features: float = 0.0
    features_decay: float = 0.8
    popularity: float = 1.0


@attrs.frozen(eq=False)
class TransitionCounts:
    """What is counted once, whatever the other knobs are.

    Args:
        table: T, of each item the strongest transitions (items, items), sparse.
        sums: r, of each row before it was divided (items,).
        shares: p (items,); they sum to 1 where every item has an event.
        events: How many there are of all items.
    """

    table: Any
    sums: Floats
    shares: Floats
    events: int


def count_transitions(sequences: Sequence[History], items: int, counting: Counting) -> TransitionCounts:
    """Count the transitions of training sequences; memory is bounded by `ENTRIES` and `PAIRS`.

    Args:
        sequences: Item indices, oldest first.
        items: Size of the catalogue.
        counting: Which pairs count.
    """
    from scipy.sparse import csr_array, vstack

    flat, offsets = concatenate(sequences)
    events = np.bincount(flat, minlength=items).astype(np.float64)
    order = np.argsort(flat, kind="stable")  # the places of each item
    user = np.repeat(np.arange(len(sequences), dtype=np.int32), np.diff(offsets))
    ends = np.concatenate([[0], np.cumsum(events.astype(np.int64))])
    most, each = max(1, ENTRIES // max(items, 1)), max(1, PAIRS // (counting.window * (2 if counting.reverse else 1)))
    blocks, sums = [], np.zeros(items)
    start = 0
    while start < items:
        stop = max(start + 1, int(np.searchsorted(ends, ends[start] + each, side="right")) - 1)
        stop = min(stop, items)
        rows, columns, weights = _pairs(flat, user, order[ends[start] : ends[stop]], counting)
        block = csr_array((weights, (rows - start, columns)), shape=(stop - start, items))
        sums[start:stop] = block.sum(axis=1)
        blocks.append(_scaled(_strongest(block, most), 1 / np.where(sums[start:stop] > 0, sums[start:stop], 1.0)))
        start = stop
    table = vstack(blocks, format="csr") if blocks else csr_array((items, items))
    return TransitionCounts(table, sums, np.maximum(events, ABSENT) / max(len(flat), 1), len(flat))


def _pairs(
    flat: NDArray[np.int32], user: NDArray[np.int32], places: NDArray[np.int64], counting: Counting
) -> tuple[NDArray[np.int32], NDArray[np.int32], Floats]:
    """From where, where to and weight of every transition that begins at one of these places (pairs,)."""
    sources, ends, weights = [], [], []
    for distance, weight in enumerate(counting.weights(), 1):
        for step, share in ((distance, 1.0), (-distance, counting.reverse)):
            other = places + step
            inside = (other >= 0) & (other < len(flat))
            here, there = places[inside], other[inside]
            same = user[here] == user[there]
            if share:
                sources.append(flat[here[same]])
                ends.append(flat[there[same]])
                weights.append(np.full(len(ends[-1]), weight * share))
    return np.concatenate(sources), np.concatenate(ends), np.concatenate(weights)


def _strongest(table: Any, most: int) -> Any:
    """The `most` largest entries of each row; of equal ones at the end those of the lowest column."""
    from scipy.sparse import csr_array

    table.sum_duplicates()
    lengths = np.diff(table.indptr)
    if not len(lengths) or lengths.max() <= most:
        return table
    kept = np.ones(table.nnz, dtype=np.bool_)
    for row in np.flatnonzero(lengths > most):
        begin, end = table.indptr[row], table.indptr[row + 1]
        order = np.argsort(-table.data[begin:end], kind="stable")  # columns rise within a row
        kept[begin + order[most:]] = False
    indptr = np.concatenate([[0], np.cumsum(np.minimum(lengths, most))])
    return csr_array((table.data[kept], table.indices[kept], indptr), shape=table.shape)


def _scaled(table: Any, rows: Floats) -> Any:
    """A table with every row times a number."""
    scaled = table.copy()
    scaled.data *= np.repeat(rows, np.diff(scaled.indptr))
    return scaled


def item_features(catalogue: Catalogue) -> Any:
    """TF-IDF of the words of titles and of whole categories (items, terms), sparse, rows of length 1 or 0.

    None where the catalogue has neither, or they hold nothing that more than one item has.
    """
    if catalogue.titles is None and catalogue.categories is None:
        return None
    import re

    from sklearn.feature_extraction.text import TfidfVectorizer

    none = ("",) * len(catalogue)
    documents = zip(catalogue.titles or none, catalogue.categories or ((),) * len(catalogue), strict=True)

    def terms(document: tuple[str, tuple[str, ...]]) -> list[str]:
        title, categories = document
        return [*re.findall(r"\w+", title.lower()), *(f"category {category}" for category in categories)]

    vectorizer = TfidfVectorizer(analyzer=terms, min_df=2, max_df=COMMON, sublinear_tf=True)
    try:
        return vectorizer.fit_transform(list(documents)).tocsr()
    except ValueError:  # every term stands in one item alone, or there is none
        return None


@attrs.frozen(eq=False, slots=False)
class Transitions:
    """The fitted table: scores of every item after a history.

    Args:
        settings: The knobs.
        evidence: g(W) (items, items), sparse.
        shares: p (items,).
        units: What a pair of weight 1 adds to W · (n p)^β, by the item that it begins at (items,).
        events: How many training events there were.
        features: Unit rows (items, terms), sparse; None where λ = 0.
        name: What reports call it.
    """

    settings: TransitionSettings
    evidence: Any
    shares: Floats
    units: Floats
    events: int
    features: Any = None
    name: str = "transitions"

    @cached_property
    def popularity(self) -> Floats:
        """η log p (items,)."""
        return np.asarray(self.settings.popularity * np.log(self.shares))

    def table(self, histories: Sequence[History], cosines: Floats | None = None) -> Floats:
        """Score of every item after each history (histories, items); finite. `cosines`: where they are known."""
        settings = self.settings
        recent = _weighted(histories, len(self.shares), settings.history, settings.decay)
        # Sparse times sparse adds up over the same items in the same order for every column: equal evidence is equal.
        found = recent @ self.evidence
        found.data = _on_grid(found.data)
        scores = found.toarray()
        if self.features is not None:
            scores += _on_grid(settings.features * (self.cosines(histories) if cosines is None else cosines))
        scores += self.popularity
        return np.asarray(scores)

    def cosines(self, histories: Sequence[History]) -> Floats:
        """Σ δ_fⁱ cos(hᵢ, b) (histories, items)."""
        # Cosines of unit rows are linear in them: the sum over a history is one product with its profile.
        recent = _weighted(histories, len(self.shares), self.settings.history, self.settings.features_decay)
        profiles = np.ascontiguousarray((recent @ self.features).toarray().T)  # (terms, histories)
        return np.ascontiguousarray((self.features @ profiles).T)

    def scores(self, histories: Sequence[History]) -> torch.Tensor:
        """The same as a tensor, float64."""
        import torch

        return torch.from_numpy(self.table(histories))


def _on_grid(values: Floats) -> Floats:
    """To the nearest multiple of 1 / `GRID`: what is equal but for rounding is equal again."""
    return np.asarray(np.rint(values * GRID) / GRID)


def weigh(counts: TransitionCounts, settings: TransitionSettings, features: Any = None) -> Transitions:
    """The table under the knobs that are not those of counting.

    Args:
        counts: By `settings.counting`.
        settings: The knobs.
        features: Of `item_features`; needed where `settings.features` is not 0.
    """
    items = len(counts.shares)
    has = counts.sums > 0
    mean = counts.sums[has].mean() if has.any() else 1.0
    rows = np.where(has, counts.sums / mean, 1.0) ** (1 - settings.evidence)
    evidence = _scaled(counts.table, rows)
    evidence.data /= ((items * counts.shares) ** settings.correction)[evidence.indices]
    if settings.scale is not None:
        evidence.data /= settings.scale
        np.log1p(evidence.data, out=evidence.data)
    units = rows / np.where(has, counts.sums, 1.0)
    return Transitions(settings, evidence, counts.shares, units, counts.events, features if settings.features else None)


def fit_transitions(
    sequences: Sequence[History], catalogue: Catalogue, settings: TransitionSettings, features: Any = None
) -> Transitions:
    """Count and weigh in one step; `features` are made from the catalogue where they are needed and not given."""
    if settings.features and features is None:
        features = item_features(catalogue)
    counts = count_transitions(sequences, len(catalogue), settings.counting)
    return weigh(counts, settings, features)


def _weighted(histories: Sequence[History], items: int, last: int, decay: float) -> Any:
    """Weight of each item in each history, δⁱ for the i-th from the end (histories, items), sparse."""
    from scipy.sparse import csr_array

    recent = [np.asarray(history[-last:]) for history in histories]
    lengths = np.array([len(history) for history in recent], dtype=np.int64)
    rows = np.repeat(np.arange(len(recent)), lengths)
    weights = [decay ** np.arange(length - 1, -1, -1.0) for length in lengths]
    columns = np.concatenate([*recent, np.zeros(0, dtype=np.int32)])
    return csr_array((np.concatenate([*weights, np.zeros(0)]), (rows, columns)), shape=(len(recent), items))
