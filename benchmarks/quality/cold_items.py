"""Items never trained on, ranked by texts alone, by ids, and by both.

A share of the items is drawn, and every event with one of them is taken out but those that are test targets
(leave-one-out): nobody trains on them, no history shows them, and no choice looks at them. The same data, seed and
settings then train `sequential` over ids, over ids with vectors of titles, and over the vectors alone. The vectors are
TF-IDF of the words of the titles, reduced by a truncated singular value decomposition (Deerwester et al. 1990); they
know no events.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from numpy.typing import NDArray

from lwa_core.data import Catalogue, Examples, PreparedData
from lwa_core.data.prepare import prepare
from lwa_core.data.sections import Filter, Split
from lwa_core.recommendation.fitting import fit_model, score_histories
from lwa_core.recommendation.ranking import rank_examples
from lwa_core.statistics.rank_metrics import ndcg, recall
from lwa_core.types import Quiet
from lwa_plugins.datasets.sequences import Sequences
from lwa_plugins.recommenders.sequential import Sequential

VARIANTS: dict[str, dict[str, Any]] = {
    "ids": {},
    "ids and vectors": {"vectors": True},
    "texts alone": {"vectors": True, "item_table": False},
}


def held_out(data: PreparedData, share: float, seed: int) -> tuple[PreparedData, NDArray[np.bool_]]:
    """The data without any event of some items but the test targets, and which items these are (items,)."""
    held = np.zeros(len(data.catalogue), dtype=np.bool_)
    count = round(share * len(held))
    held[np.random.default_rng(seed).choice(len(held), count, replace=False)] = True
    kept = ~held[data.items]
    kept[data.test.positions] = True
    place = np.concatenate([[0], np.cumsum(kept)])  # where each event comes to lie
    offsets = place[data.offsets]

    def left(examples: Examples) -> Examples:
        """Those whose target is still there, behind a history that is not empty."""
        there = kept[examples.positions] & (place[examples.positions] > offsets[examples.users])
        return Examples(examples.users[there], place[examples.positions[there]])

    none = Examples(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    made = attrs.evolve(
        data,
        items=data.items[kept],
        offsets=offsets,
        train_ends=place[data.train_ends],
        validation=left(data.validation),
        calibration=none,
        test=left(data.test),
    )
    assert not any(held[sequence].any() for sequence in made.training_sequences())
    return made, held


def title_vectors(catalogue: Catalogue, size: int) -> NDArray[np.float32]:
    """TF-IDF of titles in `size` dimensions (items, size); zeros for an item without a title."""
    words = [re.findall(r"\w+", title.lower()) for title in catalogue.titles or ()]
    found, counts = np.unique([word for title in words for word in set(title)], return_counts=True)
    places = {word: place for place, word in enumerate(found[counts > 1])}
    weights = np.log(len(words) / counts[counts > 1])
    pairs = [(row, places[word]) for row, title in enumerate(words) for word in title if word in places]
    rows, columns = np.array(pairs).T
    table = scipy.sparse.csr_matrix((weights[columns], (rows, columns)), shape=(len(words), len(places)))
    norms = np.sqrt(np.asarray(table.multiply(table).sum(axis=1)).ravel())
    table = scipy.sparse.diags(1 / np.where(norms > 0, norms, 1)) @ table
    start = np.random.default_rng(0).normal(size=min(table.shape))
    left, values, _ = scipy.sparse.linalg.svds(table, k=size, v0=start)
    return np.asarray(left * values, dtype=np.float32)


def figures(gains: NDArray[np.float64]) -> str:
    """Mean and its standard error over the users."""
    return f"{gains.mean():.4f} ± {gains.std(ddof=1) / np.sqrt(len(gains)):.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("events", help='file of "user item item ..." lines, in order')
    parser.add_argument("titles", help="JSON of the items' titles")
    parser.add_argument("--share", type=float, default=0.05, help="of the items that are held out")
    parser.add_argument("--user-core", type=int, default=5)
    parser.add_argument("--size", type=int, default=128, help="of the vectors")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=JSON", help="a setting of `sequential`")
    asked = parser.parse_args()
    settings = {name: json.loads(value) for name, _, value in (each.partition("=") for each in asked.set)}
    source = Sequences(path=asked.events, titles=asked.titles).read()
    data, held = held_out(prepare(source, Filter(user_core=asked.user_core), Split(), 0), asked.share, asked.seed)
    cold = held[data.targets(data.test)]
    print(
        f"{data.users:,} users, {len(held):,} items, {int(held.sum()):,} held out; {len(data.test):,} test targets, "
        f"{int(cold.sum()):,} of them held out"
    )
    print("| items are | epochs | NDCG@10, all | NDCG@10, held out | Recall@10, held out | NDCG@10, others |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        np.save(folder / "titles.npy", title_vectors(data.catalogue, asked.size))
        (folder / "titles.json").write_text(json.dumps(data.catalogue.ids), encoding="utf-8")
        for number, (name, variant) in enumerate(VARIANTS.items()):
            own = dict(variant)
            if own.pop("vectors", False):
                own["vectors"] = (str(folder / "titles.npy"),)
            recommender = Sequential(**own, **settings)
            model, trained = fit_model(
                recommender, data, folder=folder / str(number), seed=asked.seed, filter_seen=True, report=Quiet()
            )
            scores = partial(score_histories, recommender, model)
            ranking = rank_examples(scores, data, data.test, filter_seen=True, depth=10)
            gains, hits = (each(ranking.ranks, 10, ranking.tied) for each in (ndcg, recall))
            told = [figures(part) for part in (gains, gains[cold], hits[cold], gains[~cold])]
            print(f"| {name} | {trained.best_epoch} of {len(trained.history)} | {' | '.join(told)} |", flush=True)


if __name__ == "__main__":
    main()
