import attrs
import numpy as np
import pytest
from ranked_data import leave_last_out

from lwa_core.data import Examples
from lwa_core.recommendation import transitions_tuning as module
from lwa_core.recommendation.ranking import rank_examples
from lwa_core.recommendation.transitions import fit_transitions
from lwa_core.recommendation.transitions_tuning import (
    GRIDS,
    STARTS,
    Tuned,
    ranks_in,
    read_tuned,
    tune_transitions,
    write_tuned,
)
from lwa_core.statistics.rank_metrics import ndcg

ITEMS = 30
NONE = Examples(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))


def made(users=60, seed=0):
    """Users who step through a ring of items; the last event is for the test, the one before it for validation."""
    rng = np.random.default_rng(seed)
    steps = rng.choice([1, 2, 7], size=(users, 11), p=[0.7, 0.2, 0.1])
    sequences = (rng.integers(0, ITEMS, (users, 1)) + np.cumsum(steps, axis=1)) % ITEMS
    data = leave_last_out(sequences.tolist(), ITEMS)
    before = Examples(data.test.users, data.test.positions - 1)
    half = users // 2
    return attrs.evolve(
        data,
        train_ends=data.train_ends - 1,
        validation=before.take(slice(0, half)),
        calibration=before.take(slice(half, users)),
    )


def tuned(data, **more):
    return tune_transitions(data, **{"k": 5, "filter_seen": True, "seed": 0, "budget": 60, **more})


def test_it_is_the_best_of_what_was_tried(monkeypatch):
    tried = {}

    class Watched(module._Evaluation):
        def __call__(self, settings):
            tried[settings] = super().__call__(settings)
            return tried[settings]

    monkeypatch.setattr(module, "_Evaluation", Watched)
    found = tuned(made())

    assert set(STARTS) <= {*tried, *(attrs.evolve(each, features=0.0) for each in STARTS), *STARTS}
    assert len(tried) == found.tried <= found.budget
    assert max(tried.values()) == found.ndcg == tried[found.settings]
    assert (found.settings, found.ndcg) == found.trail[-1]
    assert sorted(value for _, value in found.trail) == [value for _, value in found.trail]


def test_the_same_data_gives_the_same_choice():
    assert tuned(made()) == tuned(made())


@pytest.mark.parametrize("budget", [1, 3, 11])
def test_the_budget_counts_settings(budget):
    assert budget == tuned(made(), budget=budget).tried


def test_calibration_and_test_targets_are_never_seen():
    data = made()
    others = np.concatenate([data.test.positions, data.calibration.positions])
    items = data.items.copy()
    items[others] = (items[others] + 5) % ITEMS

    assert tuned(data) == tuned(attrs.evolve(data, items=items))


def test_the_figure_is_that_of_the_evaluation():
    data = made()
    found = tuned(data)

    fitted = fit_transitions(data.training_sequences(), data.catalogue, found.settings)
    ranking = rank_examples(fitted.scores, data, data.validation, filter_seen=True, depth=5)

    assert found.ndcg == pytest.approx(ndcg(ranking.ranks, 5, ranking.tied).mean())


@pytest.mark.parametrize("filter_seen", [True, False])
def test_ranks_are_those_of_rank_examples(filter_seen):
    data = made()
    fitted = fit_transitions(data.training_sequences(), data.catalogue, STARTS[0])
    histories, targets = data.histories(data.test), data.targets(data.test)

    ranks, tied = ranks_in(fitted.table(histories), targets, histories if filter_seen else None)
    expected = rank_examples(fitted.scores, data, data.test, filter_seen=filter_seen, depth=5)

    assert expected.ranks.tolist() == ranks.tolist()
    assert expected.tied.tolist() == tied.tolist()


def test_of_many_examples_some_are_drawn_with_the_seed(monkeypatch):
    monkeypatch.setattr(module, "EXAMPLES", 12)

    assert 12 == tuned(made()).examples
    assert tuned(made()) == tuned(made())


def test_without_validation_examples_the_first_start_stands():
    found = tuned(attrs.evolve(made(), validation=NONE))

    assert (0, None) == (found.tried, found.ndcg)
    assert attrs.evolve(STARTS[0], features=0.0) == found.settings


def test_without_features_none_are_weighed():
    found = tuned(made())

    assert not found.features
    assert all(0 == settings.features for settings, _ in found.trail)


def test_starts_stand_on_the_grids():
    for start in STARTS:
        own = {**attrs.asdict(start, recurse=False), "window": start.counting.window, "reverse": start.counting.reverse}
        own["distance"] = (start.counting.fade, start.counting.power)
        for knob, grid in GRIDS.items():
            assert own[knob] in grid or (knob, own[knob]) == ("scale", None)


def test_what_is_stored_is_read_back(tmp_path):
    found = tuned(made(), budget=8)

    write_tuned(tmp_path, found)

    assert isinstance(found, Tuned)
    assert found == read_tuned(tmp_path)
