import numpy as np
import pytest
import torch
from heard import Heard
from hypothesis import given
from hypothesis import strategies as st
from ranked_data import by_history, leave_last_out

from lwa_core.errors import ModelError
from lwa_core.recommendation import ranking as module
from lwa_core.recommendation.ranking import rank_examples, top_items


def naive(row, history, target, filter_seen, depth):
    """Rank, ties and top list by sorting the whole row in plain Python."""
    banned = set(history) if filter_seen else set()
    order = sorted(
        (item for item in range(len(row)) if item not in banned and row[item] != -np.inf),
        key=lambda item: (-row[item], item),
    )
    equals = [place for place, item in enumerate(order, start=1) if target in order and row[item] == row[target]]
    return (equals[-1], len(equals) - 1) if equals else (0, 0), (order + [-1] * depth)[:depth]


@st.composite
def cases(draw):
    items = draw(st.integers(1, 7))
    sequences = draw(st.lists(st.lists(st.integers(0, items - 1), min_size=1, max_size=6), min_size=1, max_size=6))
    # Few distinct values, so that ties are common.
    score = st.sampled_from([-np.inf, -1.5, -0.0, 0.0, 1.0, 2.0])
    row = st.lists(score, min_size=items, max_size=items)
    table = draw(st.lists(row, min_size=len(sequences), max_size=len(sequences)))
    return leave_last_out(sequences, items), table


@given(cases(), st.booleans(), st.integers(1, 9), st.integers(1, 4), st.sampled_from([np.float32, np.float64]))
def test_agrees_with_sorting_everything(case, filter_seen, depth, batch, dtype):
    data, table = case
    scores, table = by_history(np.array(table, dtype=dtype), data)

    ranking = rank_examples(scores, data, data.test, filter_seen=filter_seen, depth=depth, batch=batch)

    histories, targets = data.histories(data.test), data.targets(data.test)
    expected = [
        naive(row.tolist(), h.tolist(), int(t), filter_seen, depth)
        for row, h, t in zip(table, histories, targets, strict=True)
    ]
    assert [placed for placed, _ in expected] == list(zip(ranking.ranks, ranking.tied, strict=True))
    assert [top[: len(data.catalogue)] for _, top in expected] == ranking.top.tolist()


@given(cases(), st.integers(1, 9))
def test_serving_follows_the_same_rule(case, k):
    data, table = case
    scores, table = by_history(np.array(table), data)

    items, best = top_items(torch.from_numpy(table), data.histories(data.test), k)

    ranking = rank_examples(scores, data, data.test, filter_seen=True, depth=k)
    assert ranking.top.tolist() == items[:, : len(data.catalogue)].tolist()
    expected = [[-np.inf if i < 0 else row[i] for i in top] for row, top in zip(table, ranking.top, strict=True)]
    assert expected == best[:, : len(data.catalogue)].tolist()


def test_seen_items_stay_where_nothing_is_seen():
    items, _ = top_items(torch.tensor([[0.0, 3.0, 1.0]]), None, 2)

    assert [[1, 2]] == items.tolist()


def test_scores_are_called_once_a_batch_with_histories_of_similar_length():
    data = leave_last_out([[0] * length for length in (2, 9, 3, 8, 1, 7)], items=3)
    seen = []

    def scores(histories):
        seen.append([len(h) for h in histories])
        return torch.zeros(len(histories), 3)

    rank_examples(scores, data, data.test, filter_seen=True, depth=1, batch=2)

    assert [[8, 7], [6, 2], [1, 0]] == seen


def test_the_table_of_scores_stays_small(monkeypatch):
    monkeypatch.setattr(module, "LARGEST_TABLE", 6)
    data = leave_last_out([[0, 1]] * 5, items=3)
    sizes = []

    def scores(histories):
        sizes.append(len(histories))
        return torch.zeros(len(histories), 3)

    rank_examples(scores, data, data.test, filter_seen=True, depth=1)

    assert [2, 2, 1] == sizes


def test_the_models_own_table_is_not_changed():
    table = torch.ones(1, 3)

    top_items(table, [np.array([0, 1], dtype=np.int32)], 1)

    assert [[1.0, 1.0, 1.0]] == table.tolist()


def test_progress_reaches_the_end():
    heard = Heard()
    data = leave_last_out([[0, 1]] * 3, items=2)

    rank_examples(lambda h: torch.zeros(len(h), 2), data, data.test, filter_seen=True, depth=1, batch=2, report=heard)

    assert [(2, 3), (3, 3)] == heard.steps


@pytest.mark.parametrize("odd", [torch.nan, torch.inf])
def test_scores_that_are_not_finite_are_an_error_that_counts_them(odd):
    data = leave_last_out([[0, 1]], items=4)
    table = torch.tensor([[0.0, odd, odd, -torch.inf]])

    with pytest.raises(ModelError, match=r"NaN or \+inf for 2 of 4 scores"):
        rank_examples(lambda h: table, data, data.test, filter_seen=True, depth=1)
    with pytest.raises(ModelError, match=r"NaN or \+inf for 2 of 4 scores"):
        top_items(table, None, 1)


def test_scores_whose_sum_no_float_holds_are_ranked():
    table = torch.full((1, 4), torch.finfo(torch.float64).max, dtype=torch.float64)

    assert [[0, 1]] == top_items(table, None, 2)[0].tolist()


def test_scores_of_another_shape_are_an_error():
    data = leave_last_out([[0, 1]], items=4)

    with pytest.raises(ModelError, match=r"shape \(1, 5\), not \(1, 4\)"):
        rank_examples(lambda h: torch.zeros(1, 5), data, data.test, filter_seen=True, depth=1)


def test_no_example_gives_an_empty_ranking():
    data = leave_last_out([[0, 1]], items=4)

    ranking = rank_examples(lambda h: torch.zeros(len(h), 4), data, data.test.take(slice(0)), filter_seen=True, depth=3)

    assert ((0,), (0, 3)) == (ranking.ranks.shape, ranking.top.shape)


def test_half_precision_scores_are_ranked_by_their_own_values():
    table = torch.tensor([[0.1, 0.3, 0.2]], dtype=torch.bfloat16)

    items, _ = top_items(table, None, 3)

    assert [[1, 2, 0]] == items.tolist()


# Among few sampled items


@given(cases(), st.booleans(), st.integers(1, 4))
def test_among_all_unseen_items_a_target_stands_as_in_the_catalogue_without_seen_ones(case, filter_seen, batch):
    data, table = case
    scores, table = by_history(np.array(table), data)

    some = rank_examples(scores, data, data.test, filter_seen=filter_seen, depth=1, batch=batch, negatives=99)

    histories, targets = data.histories(data.test), data.targets(data.test)
    for row, (history, target) in enumerate(zip(histories, targets, strict=True)):
        seen = set(history.tolist())
        own = -np.inf if filter_seen and target in seen else table[row][target]
        others = [table[row][item] for item in range(len(data.catalogue)) if item not in seen | {int(target)}]
        ahead, tied = sum(other > own for other in others), sum(other == own for other in others)
        expected = (0, 0) if own == -np.inf else (1 + ahead + tied, tied)
        assert expected == tuple(some.among_sampled[:, row])


def test_the_place_among_sampled_items_is_that_of_an_even_draw():
    """Of the items ahead each is drawn with the same chance: a hypergeometric mean."""
    items, few = 60, 12
    data = leave_last_out([[3, 4, 5]] * 400, items)
    table = torch.arange(items, 0, -1).float()[None]

    found = rank_examples(
        lambda histories: table.expand(len(histories), -1),
        data,
        data.test,
        filter_seen=True,
        depth=1,
        negatives=few,
    ).among_sampled[0]

    ahead, others = 3, items - 3  # items 0, 1, 2; of two seen items and the target none is drawn
    expected = 1 + few * ahead / others
    spread = np.sqrt(few * (ahead / others) * (1 - ahead / others) * (others - few) / (others - 1) / len(found))
    assert abs(found.mean() - expected) < 4 * spread
    assert 1 <= found.min() <= found.max() <= 1 + ahead


def test_every_model_is_ranked_among_the_same_items_whatever_the_batch():
    data = leave_last_out([[1, 2, 3], [4, 5], [6, 7, 8, 9]] * 5, 40)
    table = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 40)))

    def sampled(scale, **how):
        scores = lambda histories: (scale * table).expand(len(histories), -1)  # noqa: E731
        return rank_examples(scores, data, data.test, filter_seen=True, depth=1, negatives=5, **how).among_sampled

    assert (sampled(1.0) == sampled(3.0, batch=2)).all()
    assert (sampled(1.0, seed=1) != sampled(1.0)).any()


def test_without_them_nothing_is_sampled():
    data = leave_last_out([[1, 2, 3]], 5)

    assert (
        rank_examples(lambda h: torch.zeros(len(h), 5), data, data.test, filter_seen=True, depth=1).among_sampled
        is None
    )
