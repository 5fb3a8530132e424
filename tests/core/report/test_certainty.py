import re

import example_run
import pytest
from test_report import report_of

from lwa_core.report import certainty
from lwa_core.results.schema import Bottom, ScorerResult

SCORES = example_run.results().metrics.scores


def entry(name):
    return next(scores for scores in SCORES if scores.name == name)


def test_probabilities_are_told_for_each_number_of_removed_layers(tmp_path):
    first, second = certainty.bottom(SCORES)

    assert "Probability of being among the 4 lowest layers" == first.title
    assert "Probability of being among the 6 lowest layers" == second.title
    assert ["fisher", "leave-one-out", "borda (over its scorers)"] == [name for name, _ in first.rows]
    shown = [cell.shown for cell in first.rows[0][1]]
    assert ["0.03", "0.97", "0.03", "0.97", "0.97", "0.03", "0.97", "0.03"] == shown
    page, markdown = report_of(tmp_path)
    for text in (page.text, markdown):
        assert first.title in text
        assert "hares of 1,000 bootstrap resamples" in text or "hare of 1,000 bootstrap resamples" in text
    assert f"| fisher | {' | '.join(shown)} |" in markdown


@pytest.mark.parametrize(
    ("p", "shown"), [(0.0, "0"), (1.0, "1"), (0.001, "<0.01"), (0.999, ">0.99"), (0.5, "0.50"), (0.994, "0.99")]
)
def test_only_0_and_1_are_shown_as_such(p, shown):
    one = Bottom(removed=1, resamples=1000, probability=(p,))
    told = [ScorerResult(name="s", component="s", unit="", count=2, mean=(0.0,), bottom=(one,))]

    (matrix,) = certainty.bottom(told)

    assert shown == matrix.rows[0][1][0].shown
    assert "Probability of being the lowest layer" == matrix.title


def test_the_agreement_is_told_with_its_chance_level(tmp_path):
    page, markdown = report_of(tmp_path)

    for said in (
        "Kendall's W of fisher, leave-one-out and weight-magnitude is 0.62 (1: the same order; independent orders "
        "average 0.33), p = 0.041: they agree more than independent orders do.",
        "Shared among the 4 highest (by chance 2.0, 50.0 %)",
        "Shared among the 2 highest (by chance 0.5, 25.0 %)",
        "all 40,320 orders",
    ):
        assert said in page.text
        assert said in markdown
    assert "| fisher | 1.00 | 0.71 (p 0.014) | 0.14 (p 0.72) | −0.21 (p 0.55) |" in markdown
    assert "| fisher | 4 | 4 (p 0.014) | 3 (p 0.24) | 1 (p 0.99) |" in markdown


def test_agreement_that_may_be_chance_is_not_called_agreement():
    told = example_run.metrics()
    told["agreement"]["concordance"].update(p=0.3, names=["a", "b"])

    said = certainty.concordance(example_run.results(told).metrics.agreement)

    assert said.startswith("Kendall's W of a and b is 0.62")
    assert said.endswith("average 0.50), p = 0.30: they are not shown to agree more than independent orders do.")


def test_scores_of_one_sample_have_no_curve_and_no_probability():
    assert certainty.stability_chart(entry("random")) is None
    assert certainty.stability_chart(entry("fisher")) is not None
    assert certainty.stability_table([entry("random")]) is None
    assert [] == list(certainty.bottom([entry("random")]))


def test_the_curve_is_drawn_at_its_sizes():
    svg = certainty.stability_chart(entry("fisher"))

    labels = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert ["8", "16", "32", "64", "128", "256", "512", "samples"] == labels[:8]
    assert svg == certainty.stability_chart(entry("fisher"))


def test_the_curves_are_a_table_where_there_are_no_charts():
    matrix = certainty.stability_table(SCORES)

    assert ("scorer", "8", "16", "32", "64", "128", "256", "512") == matrix.head
    assert ["fisher", "leave-one-out"] == [row[0] for row in matrix.cells]
    assert f"{0.93 * 48 / 88:.2f}" == matrix.cells[0][1]


def test_combined_scores_say_what_they_are_made_of(tmp_path):
    page, _ = report_of(tmp_path)

    said = "made of the ranks by fisher, leave-one-out, weight-magnitude; the interval is over these scorers"
    assert said == certainty.note(entry("borda"))
    assert said in page.text


def test_a_run_without_these_figures_still_has_a_report(tmp_path):
    """As versions before them wrote it."""
    told = example_run.metrics()
    for scores in told["scores"]:
        for key in ("bottom", "stability_curve", "combines"):
            del scores[key]
    told["agreement"] = {key: told["agreement"][key] for key in ("names", "kendall")}

    page, markdown = report_of(tmp_path, told)

    assert "Kendall's W" not in page.text
    assert "| fisher | 1.00 | 0.71 | 0.14 | −0.21 |" in markdown
