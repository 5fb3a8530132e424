"""Figures of texts that have no finite value: null, as the schema of results says."""

import numpy as np

from lwa_core.results.text_summary import summarise_texts, trivial_texts
from lwa_core.text.quality import TextQuality
from lwa_core.text.sections import EvaluateText


def texts(nll, count):
    return TextQuality({"nll": np.asarray(nll, dtype=np.float64), "count": np.asarray(count)})


def test_a_student_is_held_against_its_control_as_against_a_teacher():
    rng, counts = np.random.default_rng(0), np.full(40, 5)
    made = {name: texts(rng.gamma(3, 5, 40), counts) for name in ("teacher", "student", "teacher+fine-tune")}
    evaluate = EvaluateText(bootstrap=100)

    told = summarise_texts(made, evaluate, 0, controls={"student": "teacher+fine-tune"})["student"].control
    expected = summarise_texts(made, evaluate, 0, teacher="teacher+fine-tune")["student"]

    assert ("teacher+fine-tune", 40) == (told.name, told.kept["perplexity"].units)
    assert expected.difference["perplexity"] == told.difference["perplexity"]
    assert expected.kept["perplexity"] == told.kept["perplexity"]


def test_an_index_that_fits_into_k_makes_ndcg_trivial():
    ranks, tied = np.array([1, 2, 30]), np.zeros(3, dtype=np.int32)
    found = TextQuality({"ranks": ranks, "tied": tied, "own_ranks": ranks, "own_tied": tied})
    right = TextQuality({"correct": np.ones(3)})

    easy = {f"{metric}@10{after}" for metric in ("ndcg", "recall") for after in ("", "_own_index")}
    assert easy == set(trivial_texts({"teacher": found}, EvaluateText(k=(1, 10)), 8))
    assert {} == trivial_texts({"teacher": found}, EvaluateText(k=(1, 10)), 1000)
    assert ["accuracy"] == list(trivial_texts({"teacher": right}, EvaluateText(), 0))


def test_a_perplexity_that_no_float_holds_is_null():
    counts = np.array([4, 5, 6])
    fair = TextQuality({"nll": 2.0 * counts, "count": counts})
    broken = TextQuality({"nll": 1000.0 * counts, "count": counts})
    found = summarise_texts({"teacher": fair, "drop-2": broken}, EvaluateText(bootstrap=100), 0)
    assert found["teacher"].metrics["perplexity"].mean == np.float64(f"{np.exp(2.0):.10g}")
    assert found["drop-2"].metrics["perplexity"].mean is None
    assert found["drop-2"].kept["perplexity"].high is None
