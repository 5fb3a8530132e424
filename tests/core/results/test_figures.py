import pytest

from lwa_core.results import figures as text
from lwa_core.results.schema import Figure


@pytest.mark.parametrize(
    ("show", "value", "expected"),
    [
        (text.number, -0.00372, "−0.0037"),
        (text.number, 1234.5, "1,234.5000"),
        (text.signed, 0.001, "+0.0010"),
        (text.percent, 0.9612, "96.1 %"),
        (text.milliseconds, 0.01234, "0.0123 ms"),
        (text.milliseconds, 1234.56, "1234.6 ms"),
        (text.megabytes, 2_400_000, "2.4 MB"),
        (text.megabytes, 2_400, "0.002 MB"),
        (text.seconds, 4.24, "4.2 s"),
        (text.seconds, 75.2, "1 min 15 s"),
        (text.seconds, 3725, "1 h 02 min"),
        (text.short, -0.00012345, "−0.000123"),
        (text.metric_name, "ndcg@10", "NDCG@10"),
        (text.metric_name, "mrr", "MRR"),
        (text.metric_name, "own@3", "own@3"),
    ],
)
def test_shown(show, value, expected):
    assert expected == show(value)


def test_figures_without_interval_or_mean():
    assert "0.3100" == text.with_interval(Figure(0.31))
    assert "not measured" == text.with_interval(None)
    assert "0.5000 (0.4000 to 0.6000)" == text.with_interval(Figure(0.5, 0.4, 0.6))


def test_a_figure_without_an_interval_says_of_how_few():
    assert "1.0000 (no interval: 2 users)" == text.with_interval(Figure(1.0, units=2), of="users")
    assert "1.0000 (no interval: 1 user)" == text.with_interval(Figure(1.0, units=1), of="users")
    assert "0.0000 (no interval: too few of 400 texts differ)" == text.with_interval(Figure(0.0, units=400), of="texts")
    assert "" == text.without_interval(Figure(0.5, 0.4, 0.6, 2))
    assert "not measured" == text.with_interval(Figure(None, units=2))


def test_a_negative_time_has_a_real_minus_sign():
    assert "−2.38 ms" == text.milliseconds(-2.376)
    assert "−120.5 ms" == text.milliseconds(-120.46)
