import example_run
import pytest

from lwa_core.results.schema import Caution
from lwa_core.results.warnings import performance_warnings, warnings_for


def told(change=None):
    metrics = example_run.metrics()
    if change:
        change(metrics)
    return warnings_for(example_run.results(metrics))


def messages(warnings, code):
    return [warning.message for warning in warnings if warning.code == code]


def model(metrics, name):
    return next(model for model in metrics["models"] if model["name"] == name)


def test_models_below_a_baseline_are_named_with_the_figures():
    assert [
        "drop-4 (NDCG@10 0.0710) is shown to rank worse than the baseline item-knn (0.0830; advantage −0.0120 "
        "(−0.0170 to −0.0070))",
        "drop-2 (NDCG@10 0.0420) is shown to rank worse than the baselines bigram (0.0610; advantage −0.0190 (−0.0240 "
        "to −0.0140)), item-knn (0.0830; advantage −0.0410 (−0.0460 to −0.0360))",
        "drop-2 (NDCG@10 0.0420) is not shown to rank better or worse than the baseline popularity (0.0450; advantage "
        "−0.0030 (−0.0080 to +0.0020))",
    ] == messages(told(), "below-baseline")


def test_an_advantage_that_may_be_chance_is_named():
    def narrow(metrics):
        model(metrics, "teacher")["versus"]["item-knn"]["ndcg@10"] = example_run.figure(0.017, 0.018)

    assert (
        "teacher (NDCG@10 0.1000) is not shown to rank better or worse than the baseline item-knn "
        "(0.0830; advantage +0.0170 (−0.0010 to +0.0350))"
    ) == messages(told(narrow), "below-baseline")[0]


def test_no_shown_difference_is_not_called_no_loss():
    found = messages(told(), "interval-touches-zero")

    assert 2 == len(found)
    assert (
        "no difference between distill-4 and the teacher is shown, which does not show that there is none: the 95 % "
        "interval of the NDCG@10 difference is −0.0065 to +0.0015, which is a loss of up to 6.5 %"
    ) == found[0]


def test_a_student_equal_to_the_teacher_needs_no_warning():
    def equal(metrics):
        for one in metrics["models"]:
            if one["kind"] == "student":
                one["difference"] = {"ndcg@10": example_run.figure(0.0, 0.0)}

    assert [] == messages(told(equal), "interval-touches-zero")


def test_an_unstable_combination_is_a_matter_of_its_scorers():
    def combine(metrics):
        metrics["scores"][1].update(name="borda", combines=["a", "b", "c", "d"], count=4)

    (said,) = messages(told(combine), "unstable-ranking")

    assert (
        "the order of the layers by borda depends on which scorers are combined: between halves of its 4 scorers the "
        "rank correlation is 0.61"
    ) == said


def test_unstable_rankings_are_named():
    found = messages(told(), "unstable-ranking")

    assert 1 == len(found)
    assert "leave-one-out" in found[0]
    assert "0.61" in found[0]


@pytest.mark.parametrize(("users", "expected"), [(499, 1), (500, 0)])
def test_few_test_users(users, expected):
    def change(metrics):
        metrics["data"]["facts"]["counts"]["test"] = users

    assert expected == len(messages(told(change), "few-test-users"))


@pytest.mark.parametrize(
    ("filtered", "expected"), [(True, ["94 test targets (10.0 % of all) are already"]), (False, [])]
)
def test_targets_already_seen_matter_where_seen_items_are_filtered(filtered, expected):
    def change(metrics):
        metrics["data"]["facts"]["repeated_test_targets"] = 94
        metrics["asked"]["evaluate"]["filter_seen"] = filtered

    found = messages(told(change), "seen-targets")
    assert expected == [message[: len(start)] for message, start in zip(found, expected or found, strict=True)]


@pytest.mark.parametrize(
    ("select", "expected"),
    [({"use": "random", "keep": 2}, 1), ({"use": "top-k", "by": "random"}, 1), ({"use": "top-k", "by": "fisher"}, 0)],
)
def test_a_random_selection_is_called_one(select, expected):
    def change(metrics):
        metrics["asked"]["select"] = select

    assert expected == len(messages(told(change), "random-selection"))


def test_a_quantised_model_slower_than_its_source():
    found = performance_warnings(example_run.results(measured=example_run.PERFORMANCE))

    assert [
        Caution(
            "slower-than-source",
            "qlora-4 is shown to be slower than distill-4, which it was made from: 3.1 ms against 2.19 ms at batch 1 "
            "on this machine",
        )
    ] == found


def test_noise_in_the_timing_is_no_warning():
    measured = example_run.performance()
    measured["latency"]["models"]["distill-4"] |= {"p50": 2.25, "ratio": example_run.figure(0.5625, 0.02)}
    measured["latency"]["models"].pop("qlora-4")

    # distill-4's median is above drop-4's, of which it has the size: their intervals meet.
    assert [] == performance_warnings(example_run.results(measured=measured))


def test_a_student_slower_than_the_teacher():
    measured = example_run.performance()
    measured["latency"]["models"] |= {"drop-4": example_run.timed(4.4, 1.1)}
    measured["latency"]["models"].pop("qlora-4")

    assert ["slower-than-source"] == [w.code for w in performance_warnings(example_run.results(measured=measured))]


def test_unreliable_timing_is_a_warning_and_calls_nothing_slower():
    measured = example_run.performance()
    measured["latency"]["unreliable"] = ["only 5 requests were timed a model", "the load was 8"]

    (found,) = performance_warnings(example_run.results(measured=measured))

    assert "timing-unreliable" == found.code
    assert (
        "the timing is unreliable, and no model is called faster or slower: only 5 requests were timed a model; the "
        "load was 8"
    ) == found.message


def test_a_model_without_a_finite_figure_is_called_broken():
    told = example_run.text_metrics()
    told["models"][1]["metrics"]["perplexity"] = {"mean": None, "low": None, "high": None}

    assert ["drop-4 has no finite perplexity: its answers are broken"] == messages(
        warnings_for(example_run.results(told)), "not-finite"
    )


def test_without_timing_nothing_is_said_of_it():
    assert [] == performance_warnings(example_run.results())
    assert [] == performance_warnings(example_run.results(measured={"latency": None, "memory": {}}))


def test_of_a_perplexity_more_is_worse():
    found = warnings_for(example_run.results(example_run.text_metrics()))

    assert [
        "drop-4 (perplexity 31.0000) is shown to be worse than the baseline bigram (25.0000; advantage −6.0000 "
        "(−6.5000 to −5.5000))",
    ] == messages(found, "below-baseline")
    assert ["only 400 test texts: the intervals are wide, and no figure is finer than they"] == messages(
        found, "few-test-texts"
    )
    assert [
        "no difference between fine-tune-4 and the teacher is shown, which does not show that there is none: the 95 % "
        "interval of the perplexity difference is −0.2000 to +0.8000, which is a loss of up to 4.0 %"
    ] == messages(found, "interval-touches-zero")
    assert [] == messages(found, "few-test-users")


def test_an_advantage_in_perplexity_is_a_lower_one():
    told = example_run.text_metrics()
    told["models"][0]["versus"]["bigram"]["perplexity"] = example_run.figure(-5.0, 6.0)

    (_, said) = sorted(messages(warnings_for(example_run.results(told)), "below-baseline"))

    assert (
        "teacher (perplexity 20.0000) is not shown to be better or worse than the baseline bigram "
        "(25.0000; advantage +5.0000 (−1.0000 to +11.0000))"
    ) == said


def test_a_run_without_scores_and_plan_has_nothing_of_them():
    found = warnings_for(example_run.results(example_run.text_metrics(whole=False)))

    assert ["few-test-texts"] == [warning.code for warning in found]


def test_nothing_is_said_of_how_few_where_there_are_none():
    told = example_run.text_metrics()
    told["data"]["facts"]["counts"]["test"] = 0

    assert [] == messages(warnings_for(example_run.results(told)), "few-test-texts")


@pytest.mark.parametrize(
    ("advantage", "said"),
    [
        ((0.01, 0.004), None),
        ((0.001, 0.004), "is not shown to rank better or worse than"),
        ((-0.01, 0.004), "is shown to rank worse than"),
    ],
)
def test_healing_that_is_not_shown_to_have_helped_comes_before_all_else(advantage, said):
    def beside(metrics):
        model(metrics, "distill-4")["healed"] = True
        model(metrics, "distill-4")["versus"] = {"drop-4": {"ndcg@10": example_run.figure(*advantage)}}
        model(metrics, "distill-2")["healed"] = False

    warnings = told(beside)

    if said is None:
        assert messages(warnings, "healing-no-better") == []
    else:
        (message,) = messages(warnings, "healing-no-better")
        assert message.startswith(f"distill-4 was trained, and {said} drop-4 (advantage")
        assert warnings[0].code == "healing-no-better"
