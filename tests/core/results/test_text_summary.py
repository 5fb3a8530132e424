"""Figures of texts that have no finite value: null, as the schema of results says."""

import numpy as np

from lwa_core.results.text_summary import summarise_texts
from lwa_core.text.quality import TextQuality
from lwa_core.text.sections import EvaluateText


def test_a_perplexity_that_no_float_holds_is_null():
    counts = np.array([4, 5, 6])
    fair = TextQuality({"nll": 2.0 * counts, "count": counts})
    broken = TextQuality({"nll": 1000.0 * counts, "count": counts})
    found = summarise_texts({"teacher": fair, "drop-2": broken}, EvaluateText(bootstrap=100), 0)
    assert found["teacher"].metrics["perplexity"].mean == np.float64(f"{np.exp(2.0):.10g}")
    assert found["drop-2"].metrics["perplexity"].mean is None
    assert found["drop-2"].kept["perplexity"].high is None
