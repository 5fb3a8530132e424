import example_run
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lwa_core.report.answer import answer
from lwa_core.results.trivial import constant_metrics, trivial_cut_offs
from lwa_core.results.warnings import warnings_for


def cautions(change):
    told = example_run.metrics()
    change(told)
    return warnings_for(example_run.results(told))


def test_where_all_candidates_fit_everything_is_found():
    found = trivial_cut_offs(np.array([8, 10, 9]), [5, 10, 20], ("ndcg", "recall"))

    assert {"ndcg@10", "recall@10", "ndcg@20", "recall@20", "ndcg@5", "recall@5"} == set(found)
    assert "there are at most 10 candidates, and all of them fit into 10" == found["recall@10"]
    assert found["recall@5"].startswith("a random order already reaches a recall@5 of 56.")


@given(st.lists(st.integers(1, 60), min_size=1, max_size=20), st.integers(1, 60))
def test_the_recall_of_a_random_order(candidates, k):
    rng = np.random.default_rng(0)
    ranks = np.array([[rng.integers(1, n + 1) for n in candidates] for _ in range(50)])
    certain = bool((ranks <= k).all()) and all(n <= k for n in candidates)

    found = trivial_cut_offs(np.array(candidates), [k], ("recall",))

    assert certain == ("all of them fit" in found.get(f"recall@{k}", ""))
    assert (np.mean([min(1, k / n) for n in candidates]) > 0.5) == bool(found)


def test_without_users_nothing_is_called_trivial():
    assert {} == trivial_cut_offs(np.zeros(0, dtype=np.int64), [10], ("recall",))
    assert {} == constant_metrics([], "users")
    assert {} == constant_metrics([{"recall@5": np.zeros(0)}], "users")


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([1.0, 1.0], [1.0, 1.0], "every model has the same value for all 2 test users"),
        ([1.0, 1.0], [0.0, 0.0], "each model has the same value for all 2 test users"),
        ([1.0, 1.0], [0.0, 1.0], None),
    ],
)
def test_values_that_no_user_tells_apart(first, second, expected):
    found = constant_metrics([{"recall@5": np.array(first)}, {"recall@5": np.array(second)}], "users")

    assert expected == found.get("recall@5")


def test_trivial_metrics_of_one_reason_are_warned_of_together():
    def change(told):
        told["trivial"] = {"ndcg@10": "all fit into 10", "recall@10": "all fit into 10", "mrr": "so"}

    assert [
        "NDCG@10, Recall@10 tell little or nothing of a model: all fit into 10",
        "MRR tells little or nothing of a model: so",
    ] == [each.message for each in cautions(change) if each.code == "trivial-metric"]


def test_a_trivial_headline_is_spoken_of_first():
    told = example_run.metrics()
    told["trivial"] = {"ndcg@10": "all fit into 10"}

    assert "NDCG@10 tells little or nothing of a model here: all fit into 10." == answer(example_run.results(told))[0]


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, "only 1 test user: so few show next to nothing, whatever the figures are"),
        (2, "only 2 test users: so few show next to nothing, whatever the figures are"),
        (120, "only 120 test users: the intervals are wide, and no figure is finer than they"),
        (500, None),
    ],
)
def test_the_fewer_test_users_the_harder_the_word(count, expected):
    def change(told):
        told["data"]["facts"]["counts"]["test"] = count

    found = [each.message for each in cautions(change) if each.code == "few-test-users"]

    assert ([] if expected is None else [expected]) == found


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (2, 1), (16, 1), (99, 1), (100, 0)])
def test_few_calibration_examples_are_warned_of(count, expected):
    def change(told):
        told["calibration"]["examples"] = count

    assert expected == len([each for each in cautions(change) if each.code == "few-calibration-examples"])


def test_without_scores_and_plan_few_calibration_examples_are_of_no_matter():
    def change(told):
        told["calibration"]["examples"] = 2
        told |= {"scores": [], "plan": None, "agreement": None}

    assert [] == [each for each in cautions(change) if each.code == "few-calibration-examples"]


def test_an_order_from_two_samples_is_called_unknown():
    def change(told):
        told["scores"][0] |= {"count": 2, "stability": None}

    said = [each.message for each in cautions(change) if each.code == "unstable-ranking"]

    assert (
        "whether the order of the layers by fisher depends on which examples were looked at cannot be told from its 2 "
        "samples"
    ) in said


@given(st.integers(1, 2000), st.integers(1, 2000), st.integers(1, 2000), st.integers(1, 2000))
def test_less_data_never_brings_fewer_warnings(users, more_users, examples, more_examples):
    def codes(count, calibration):
        def change(told):
            told["data"]["facts"]["counts"]["test"] = count
            told["calibration"]["examples"] = calibration

        return {each.code for each in cautions(change)}

    less = codes(min(users, more_users), min(examples, more_examples))

    assert codes(max(users, more_users), max(examples, more_examples)) <= less
