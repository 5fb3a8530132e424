"""The interval of a percentile holds it as often as it says, and a process that fails says why."""

import numpy as np
import pytest

from lwa_core.errors import ModelError
from lwa_core.measuring.configurations import answered_in_fresh_process, quantile_interval


def test_the_interval_holds_the_percentile_in_95_of_100_draws():
    rng = np.random.default_rng(0)
    true = -np.log(0.05)  # of an exponential distribution
    held = [low <= true <= high for _, low, high in (quantile_interval(rng.exponential(size=1000)) for _ in range(800))]
    assert np.mean(held) >= 0.935


def test_of_few_values_the_upper_end_is_the_largest():
    _, low, high = quantile_interval(np.arange(10.0))
    assert high == 9.0
    assert low <= 8.55


def test_a_process_that_cannot_answer_says_why(tmp_path):
    (tmp_path / "bundle.json").write_text("{}", "utf-8")
    (tmp_path / "requests.json").write_text('[{"history": []}]', "utf-8")
    with pytest.raises(ModelError, match=r"ended with 6: .*format None"):
        answered_in_fresh_process(tmp_path, tmp_path / "requests.json", 2, 1)
