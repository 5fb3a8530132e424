import itertools
from collections import Counter, defaultdict

import numpy as np
import polars as pl
import pytest

from lwa_core.data import prepare
from lwa_core.data.sections import Filter, Split
from lwa_core.errors import DataError
from lwa_plugins.datasets import synthetic
from lwa_plugins.datasets.synthetic import Synthetic

SMALL = Synthetic(users=60, items=220, mean_length=12)


@pytest.fixture(scope="module")
def default():
    return prepare(Synthetic().read(), Filter(), Split(), 0)


def genres_of(data):
    return np.array([int(names[0].removeprefix("genre ")) for names in data.catalogue.categories])


def by_the_rule(genre, switches):
    """The documented rule for two memories and eleven genres: the next genre but for noise, and the new switches."""
    first, second = switches
    if genre == 2:
        second = first
    if genre in (0, 1):
        first = genre
    return (genre + 1 + first + 2 * second) % 11, (first, second)


def chances(genres, noise=0.2):
    """Probability of every next genre, by Bayes' rule over the four ways in which a user's switches may begin."""
    total = np.zeros(11)
    for switches in itertools.product((0, 1), repeat=2):
        likelihood, expected = 1.0, None
        for genre in genres:
            if expected is not None:
                likelihood *= (1 - noise) * (genre == expected) + noise / 11
            expected, switches = by_the_rule(genre, switches)  # noqa: PLW2901
        total[expected] += likelihood
    return (1 - noise) * total / total.sum() + noise / 11


def ndcg(data, score):
    """Mean NDCG@10 of `score(history) -> (items,)` over the test examples, items of the history left out."""
    gains = []
    for history, target in zip(data.histories(data.test), data.targets(data.test), strict=True):
        scores = score(history).astype(float)
        scores[history] = -np.inf
        rank = np.count_nonzero(scores > scores[target])
        gains.append(1 / np.log2(rank + 2) if rank < 10 else 0.0)
    return float(np.mean(gains))


def popularity_of(data):
    return np.bincount(np.concatenate(data.training_sequences()), minlength=len(data.catalogue))


def bigram_of(data):
    table = np.zeros((len(data.catalogue), len(data.catalogue)))
    for sequence in data.training_sequences():
        np.add.at(table, (sequence[:-1], sequence[1:]), 1)
    return table + popularity_of(data) / 1e6


def test_who_knows_the_rule_beats_popularity_and_bigram_by_far(default):
    genre, popularity, bigram = genres_of(default), popularity_of(default), bigram_of(default)

    share = popularity / np.bincount(genre, weights=popularity)[genre]

    by_rule = ndcg(default, lambda history: chances(genre[history])[genre] * share)

    assert 0.32 == pytest.approx(by_rule, abs=0.005)  # what docs/data.md says
    assert 0.18 == pytest.approx(ndcg(default, lambda history: bigram[history[-1]]), abs=0.005)
    assert 0.11 == pytest.approx(ndcg(default, lambda history: popularity), abs=0.005)


def longest_context(default, length):
    """How often the genre that most often follows the last `length` genres comes next, fitted to these very data."""
    genre, follows = genres_of(default), defaultdict(Counter)
    for sequence in np.split(genre[default.items], default.offsets[1:-1]):
        for place in range(10, len(sequence)):
            follows[tuple(sequence[place - length : place])][sequence[place]] += 1
    return sum(max(counts.values()) for counts in follows.values()) / sum(sum(c.values()) for c in follows.values())


def test_recent_genres_tell_less_than_the_whole_history(default):
    """The rule gives 0.8 + 0.2 / 11 of the genres away; one or two steps back do not."""
    assert 0.44 == pytest.approx(longest_context(default, 1), abs=0.005)  # what docs/data.md says
    assert 0.74 == pytest.approx(longest_context(default, 2), abs=0.005)


def test_the_rule_holds_but_for_the_noise(default):
    genre = genres_of(default)
    hits = []
    for sequence in np.split(genre[default.items], default.offsets[1:-1])[::10]:
        hits += [np.argmax(chances(sequence[:place])) == sequence[place] for place in range(15, len(sequence))]

    assert abs(np.mean(hits) - (0.8 + 0.2 / 11)) < 0.03


def test_no_user_meets_an_item_twice(default):
    assert 60_000 == pytest.approx(len(default.items), rel=0.05)
    assert default.steps[0] == default.steps[0].__class__("read", len(default.items), 2000, 440)
    assert all(len(set(h.tolist())) == len(h) for h in np.split(default.items, default.offsets[1:-1]))


def test_popularity_within_a_genre_follows_zipf(default):
    """The most popular of 40 items has 1 / (1 + 1/2 + … + 1/40) of the first draws from its genre."""
    genre = genres_of(default)
    firsts = default.items[default.offsets[:-1]]
    counts = np.bincount(firsts, minlength=440)
    top = np.mean([counts[genre == g].max() / counts[genre == g].sum() for g in range(11)])

    assert abs(top - 1 / np.sum(1 / np.arange(1, 41))) < 0.05


def test_every_mention_says_that_it_is_made_up(default):
    assert "synthetic data" in default.facts["notes"][0]
    assert "no finding" in Synthetic.__doc__


def test_items_have_titles_and_one_genre(default):
    assert ("Item 17", 1) == (default.catalogue.titles[17], len(default.catalogue.categories[17]))
    assert {f"genre {g}": 40 for g in range(11)} == pl.Series(
        [names[0] for names in default.catalogue.categories]
    ).value_counts(name="count").pipe(lambda frame: dict(frame.iter_rows()))


def test_the_seed_alone_decides():
    def rows(dataset):
        return dataset.read().events.collect().rows()

    assert rows(SMALL) == rows(Synthetic(users=60, items=220, mean_length=12))
    assert rows(SMALL) != rows(Synthetic(users=60, items=220, mean_length=12, seed=1))


def test_blocks_bound_the_memory_and_more_users_leave_the_first_alone(monkeypatch):
    monkeypatch.setattr(synthetic, "BLOCK", 30)
    few, many = (Synthetic(users=n, items=220, mean_length=12).read().events.collect() for n in (60, 90))

    assert few.rows() == many.filter(pl.col("user").cast(int) < 60).rows()


def test_timestamps_rise_within_a_user():
    events = SMALL.read().events.collect()

    assert bool(events.group_by("user").agg((pl.col("timestamp").diff().drop_nulls() > 0).all())["timestamp"].all())


def test_it_reads_no_files():
    assert () == SMALL.files()


@pytest.mark.parametrize("settings", [{"memories": 4}, {"mean_length": 31}, {"genres": 4, "memories": 2}])
def test_settings_that_cannot_be_met_are_errors(settings):
    with pytest.raises(DataError) as caught:
        Synthetic(**settings).read()

    assert caught.value.hint
