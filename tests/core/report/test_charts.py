import re

import attrs
import example_run

from lwa_core.report import charts
from lwa_core.report.charts import Point

SCORES = example_run.results().metrics.scores


def texts(svg):
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_colors_are_those_of_the_page():
    svg = charts.layer_scores(SCORES[0])

    assert "var(--accent)" in svg
    assert not re.findall(r"#[0-9a-f]{6}\b", re.sub(r'(href="|url\()#\w+', "", svg))
    assert "<style" not in svg
    assert "font-family" not in svg


def test_the_same_chart_is_the_same_text():
    scores = SCORES[0]

    assert charts.layer_scores(scores) == charts.layer_scores(scores)


def test_every_layer_is_named_as_long_as_there_is_room():
    assert [str(layer) for layer in range(8)] == texts(charts.layer_scores(SCORES[0]))[:8]
    many = attrs.evolve(SCORES[3], mean=(1.0,) * 48)
    assert len(texts(charts.layer_scores(many))) < 30


def test_one_epoch_is_a_whole_number():
    svg = charts.training_curve("m", [{"epoch": 1, "loss": 2.0}], "loss", "training loss", 1)

    assert "1" == texts(svg)[0]


def test_models_and_axes_are_named():
    points = [Point("a < b", "teacher", 4.0, 0.1, 0.09, 0.11), Point("c", "student", 2.0, 0.1, None, None)]

    svg = charts.trade_off(points, "ms", "NDCG@10")

    assert {"a &lt; b", "c", "ms", "NDCG@10"} <= set(texts(svg))


def test_equal_points_have_labels_apart():
    points = [Point(name, "student", 2.0, 0.1, 0.09, 0.11) for name in "ab"]

    svg = charts.trade_off(points, "ms", "NDCG@10")

    heights = [float(y) for y, name in re.findall(r'y="([0-9.]+)"[^>]*>([ab])</text>', svg)]
    assert 2 == len(set(heights))
    assert abs(heights[0] - heights[1]) > 8
