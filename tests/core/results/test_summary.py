import json

import numpy as np
import pytest
from ranked_data import catalogue, leave_last_out

from lwa_core.recommendation.ranking import Ranking
from lwa_core.recommendation.sections import Evaluate
from lwa_core.results.as_json import to_json
from lwa_core.results.schema import Bottom, Figure
from lwa_core.results.summary import agreement_of, scores_of, summarise, trivial
from lwa_core.statistics.means import mean_interval
from lwa_core.types import LayerScores, ScoreBoard

EVALUATE = Evaluate(k=(5, 2), bootstrap=200)


def ranking(seed, users=50, items=9):
    rng = np.random.default_rng(seed)
    top = np.stack([rng.permutation(items)[:5] for _ in range(users)]).astype(np.int32)
    return Ranking(rng.integers(0, items + 1, size=users), top)


def json_of(told):
    return json.dumps({name: to_json(quality) for name, quality in told.items()})


def test_the_parts_hang_together():
    rankings = {"teacher": ranking(0), "student": ranking(1)}
    categories = tuple(("a",) if item % 2 else ("b", "c") for item in range(9))

    told = summarise(rankings, catalogue(9, categories), EVALUATE, seed=0)

    teacher, student = told["teacher"], told["student"]
    assert teacher.difference is None
    assert teacher.kept is None
    for metric, figures in student.metrics.items():
        expected = figures.mean - teacher.metrics[metric].mean
        assert expected == pytest.approx(student.difference[metric].mean, abs=1e-9)
    for metric, figures in student.kept.items():
        if figures is not None:
            expected = student.metrics[metric].mean / teacher.metrics[metric].mean
            assert expected == pytest.approx(figures.mean)
    assert student.difference["ndcg@2"] == student.versus["teacher"]["ndcg@2"]
    assert -student.difference["ndcg@2"].low == pytest.approx(teacher.versus["student"]["ndcg@2"].high)
    assert {"ndcg@2", "ndcg@5"} == set(student.versus["teacher"])
    names = [f"{m}@{k}" for m in ("ndcg", "recall") for k in (2, 5)] + ["mrr"]
    names += [f"{m}@{k}" for m in ("coverage", "diversity") for k in (2, 5)]
    assert names == list(student.metrics)


def test_means_are_means_and_intervals_are_around_them():
    one = ranking(0)

    told = summarise({"teacher": one}, catalogue(9), EVALUATE, seed=0)["teacher"].metrics

    assert np.isin(one.ranks, [1, 2]).mean() == pytest.approx(told["recall@2"].mean)
    assert told["recall@2"].low < told["recall@2"].mean < told["recall@2"].high
    assert Figure(1.0) == told["coverage@5"]
    assert told["diversity@5"] is None


def test_the_same_seed_gives_the_same_json():
    rankings = {"teacher": ranking(0), "student": ranking(1)}

    first, second = (json_of(summarise(rankings, catalogue(9), EVALUATE, seed=4)) for _ in range(2))

    assert first == second
    assert first != json_of(summarise(rankings, catalogue(9), EVALUATE, seed=5))


def test_a_teacher_that_never_hits_has_no_share_kept():
    never = Ranking(np.zeros(5, dtype=np.int64), np.tile(np.arange(5, dtype=np.int32), (5, 1)))

    told = summarise({"teacher": never, "student": never}, catalogue(9), EVALUATE, seed=0)["student"]

    assert told.kept["recall@5"] is None
    found = told.difference["recall@5"]
    assert (0.0, -found.high) == (found.mean, found.low)  # nobody of five: others may well differ
    assert found.high > 0.3


def test_every_figure_says_over_how_many_users_it_is():
    categories = tuple(("a",) if item == 1 else () for item in range(9))  # a list without pairs has no diversity
    told = summarise({"teacher": ranking(0), "student": ranking(1)}, catalogue(9, categories), EVALUATE, seed=0)

    for part in (told["student"].metrics, told["student"].difference, told["student"].kept):
        assert 50 == part["ndcg@5"].units
    assert 50 == told["teacher"].versus["student"]["ndcg@2"].units
    assert None is told["teacher"].metrics["coverage@5"].units


def test_a_student_is_held_against_its_control_as_against_a_teacher():
    rankings = {"teacher": ranking(0), "student": ranking(1), "teacher+distill": ranking(2)}

    told = summarise(rankings, catalogue(9), EVALUATE, seed=0, controls={"student": "teacher+distill"})
    expected = summarise(rankings, catalogue(9), EVALUATE, seed=0, teacher="teacher+distill")["student"]

    assert "teacher+distill" == told["student"].control.name
    assert expected.difference == told["student"].control.difference
    assert expected.kept == told["student"].control.kept
    assert None is told["teacher"].control is told["teacher+distill"].control


def test_small_catalogues_and_equal_users_make_metrics_trivial():
    data = leave_last_out([[0, 1, 2], [3, 1, 2]], 6)
    alike = Ranking(np.array([1, 1]), np.zeros((2, 5), dtype=np.int32))

    left = trivial({"teacher": alike}, data, Evaluate(k=(2, 5)))
    kept = trivial({"teacher": alike}, data, Evaluate(k=(2, 5), filter_seen=False))

    # Four items are left to each user: five hold all of them, two half of them.
    assert "every model has the same value for all 2 test users" == left["mrr"] == left["ndcg@2"]
    assert left["recall@5"].startswith("there are at most 4 candidates")
    assert kept["recall@5"].startswith("a random order already reaches a recall@5 of 83.3")
    assert {"coverage@5"} == set(left) - {"mrr", *(f"{m}@{k}" for m in ("ndcg", "recall") for k in (2, 5))}


def test_scores_are_told_with_their_errors():
    rng = np.random.default_rng(0)
    samples = rng.normal([1.0, 2.0, 3.0], 0.1, size=(80, 3))
    board = ScoreBoard(
        {"f": LayerScores("f", samples, unit="nats"), "m": LayerScores("m", np.array([[3.0, 1.0, 2.0]]))}
    )

    many, one = scores_of(board, {"f": "fisher", "m": "weight-magnitude"}, {"f": "Theis et al. 2018"})

    assert ("f", "fisher", "nats", "Theis et al. 2018", 80) == tuple(
        getattr(many, key) for key in ("name", "component", "unit", "reference", "count")
    )
    from scipy import stats

    interval = mean_interval(samples, 0.95)
    assert samples.mean(axis=0).tolist() == pytest.approx(many.mean)
    assert stats.sem(samples, axis=0).tolist() == pytest.approx(many.standard_error)
    assert np.array(interval).tolist() == pytest.approx(np.array([many.low, many.high]))
    assert 1.0 == many.stability
    assert [None] * 4 == [getattr(one, key) for key in ("standard_error", "low", "high", "stability")]
    assert one.reference is None


def test_certainty_is_told_for_each_number_of_removed_layers():
    rng = np.random.default_rng(0)
    many = LayerScores("f", rng.normal([1.0, 2.0, 3.0], 0.1, size=(80, 3)))
    one = LayerScores("m", np.array([[3.0, 1.0, 2.0]]), facts={"combines": ["f"]})

    clear, alone = scores_of(ScoreBoard({"f": many, "m": one}), {"f": "", "m": ""}, {}, removed=[2, 0, 1, 2])

    assert (
        Bottom(removed=1, resamples=1000, probability=(1.0, 0.0, 0.0)),
        Bottom(removed=2, resamples=1000, probability=(1.0, 1.0, 0.0)),
    ) == clear.bottom
    assert ((8, 1.0), (16, 1.0), (32, 1.0)) == clear.stability_curve
    assert (None, ()) == (alone.bottom, alone.stability_curve)
    assert (None, ("f",)) == (clear.combines, alone.combines)


def board_of(**rows):
    return {name: LayerScores(name, np.array([row], dtype=float)) for name, row in rows.items()}


def test_agreement_is_kendalls_tau():
    told = agreement_of(ScoreBoard(board_of(a=[1, 2, 3], b=[1, 3, 2])))

    assert ("a", "b") == told.names
    # Two of three pairs in the same order, one not: of the 6 orders all have |tau| of at least 1/3.
    assert [(1.0, 1 / 3), (1 / 3, 1.0)] == [pytest.approx(row) for row in told.kendall]
    assert ((None, 1.0), (1.0, None)) == told.kendall_p
    assert (6, True, ()) == (told.permutations, told.exact, told.overlap)
    assert ("a", "b") == told.concordance.names
    # Rank sums 2, 5, 5 around 4, and W = 12 · 6 / (4 · 24). As much or more: (2, 4, 6), (2, 5, 5), (3, 3, 6) of six.
    assert (0.75, pytest.approx(3 / 6)) == (told.concordance.w, told.concordance.p)


def test_overlap_is_told_for_each_number_of_kept_layers():
    told = agreement_of(ScoreBoard(board_of(a=[1, 2, 3, 4], b=[4, 1, 2, 3])), keeps=[1, 2, 4, 2])

    assert [2, 1] == [entry.k for entry in told.overlap]
    two, one = told.overlap
    assert (1.0, ((2, 1), (1, 2))) == (two.chance, two.shared)
    # Of the six pairs of layers one shares none.
    assert ((None, pytest.approx(5 / 6)), (pytest.approx(5 / 6), None)) == two.p
    assert (0.25, ((1, 0), (0, 1)), 1.0) == (one.chance, one.shared, one.p[0][1])


def test_agreement_leaves_out_what_is_combined_and_w_what_is_a_baseline():
    scores = board_of(a=[1, 2, 3], b=[1, 3, 2], r=[2, 2, 1], borda=[2, 5, 5])

    told = agreement_of(ScoreBoard(scores, baselines=frozenset({"r"}), combined=frozenset({"borda"})))

    assert ("a", "b", "r") == told.names
    assert ("a", "b") == told.concordance.names
    alone = agreement_of(ScoreBoard(scores, baselines=frozenset({"r", "b"}), combined=frozenset({"borda"})))
    assert alone.concordance is None
    assert json.dumps(to_json(told), allow_nan=False)


def test_what_a_scorer_told_is_kept_with_its_numbers_rounded():
    facts = {"passes": 3.0, "parts": {"mean": 0.1 + 0.2, "none": None}, "list": [1 / 3, 2, "x", True], "odd": np.inf}
    board = ScoreBoard({"f": LayerScores("f", np.ones((2, 3)), facts=facts)})

    (told,) = scores_of(board, {"f": "f"}, {})

    assert {
        "passes": 3.0,
        "parts": {"mean": 0.3, "none": None},
        "list": [0.3333333333, 2, "x", True],
        "odd": None,
    } == told.facts
    assert told.facts == json.loads(json.dumps(told.facts, allow_nan=False))
