"""The part of the report on how near the chosen layers are to the best set."""

import re

import example_run
import numpy as np
import pytest

from lwa_core.report import optimum, write_report
from lwa_core.results.as_json import to_json
from lwa_core.results.figures import signed
from lwa_core.results.optimality import optimality_of
from lwa_core.statistics.subsets import every_subset

rng = np.random.default_rng(0)
SIZES = np.array([len(kept) for kept in every_subset(8)])
TABLE = SIZES[:, None] / 10 + rng.normal(size=(256, 70))
TIERS = [tuple(tier) for tier in example_run.TIERS]
HOW = {"confidence": 0.95, "seed": 0}


def metrics(utility="loss", tiers=TIERS):
    told = example_run.metrics()
    told["optimality"] = to_json(optimality_of(TABLE, tiers, utility=utility, **HOW))
    return told


def values(**how):
    return example_run.results(metrics(**how)).metrics


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = example_run.write_run(tmp_path_factory.mktemp("report"), metrics())
    return [path.read_text("utf-8") for path in write_report(folder)]


def test_every_figure_is_that_of_the_metrics(written):
    found = metrics()["optimality"]
    for text in written:
        for tier in found["tiers"]:
            for name in ("difference", "regret", "gain"):
                assert f"{signed(tier[name]['mean'])} ({signed(tier[name]['low'])} to" in text
            assert f"{tier['rank']} of {tier['subsets']}" in text
        for entry in found["depths"][:-1]:
            for name in ("best", "oracle", "random"):
                assert f"{signed(entry[name]['mean'])} ({signed(entry[name]['low'])} to" in text
        assert f"Regret averaged over the tiers: {signed(found['mean_regret']['mean'])}" in text


def test_it_says_on_which_examples_and_what_a_regret_is(written):
    page, markdown = written
    for text in (page, markdown):
        said = " ".join(re.sub(r"<[^>]*>|\*", "", text).split())
        assert "All 256 subsets of the layers were measured on 70 calibration examples." in said
        assert "minus the cross-entropy, in nats" in said
        assert "Regret: how much higher the utility of the best set of as many layers is" in said
        assert "All intervals hold for sets that these examples chose, too." in said


def test_few_examples_have_figures_without_intervals(tmp_path):
    told = example_run.metrics()
    told["optimality"] = to_json(optimality_of(TABLE[:, :30], TIERS, utility="loss", **HOW))

    for path in write_report(example_run.write_run(tmp_path, told)):
        said = " ".join(re.sub(r"<[^>]*>|\*", "", path.read_text("utf-8")).split())
        assert "hold for sets that these examples chose, too; there are none here, for fewer than 64 examples." in said


def test_the_chart_has_a_mark_for_every_depth_and_tier():
    svg = optimum.chart(values().optimality)

    assert {str(n) for n in range(1, 9)} | {"layers that stay"} <= set(re.findall(r"<text[^>]*>([^<]*)</text>", svg))
    uses = re.findall(r"<use ", svg)
    assert len(uses) >= 8 + 8 + len(TIERS)
    assert svg == optimum.chart(values().optimality)


def test_ndcg_has_no_nats():
    told = optimum.told(values(utility="ndcg"))

    assert ("NDCG", "") == (told["utility"], told["unit"])


def test_one_tier_has_no_mean():
    assert optimum.told(values(tiers=TIERS[:1]))["mean_regret"] is None


@pytest.mark.parametrize("absent", [{}, {"optimality": None}], ids=str)
def test_without_the_table_it_is_not_measured(tmp_path, absent):
    example_run.write_run(tmp_path, {**example_run.metrics(), **absent})

    page, markdown = (path.read_text("utf-8") for path in write_report(tmp_path))

    assert "Not measured:</strong> the distance to the best set" in page
    assert "**Not measured:** the distance to the best set" in markdown
    assert "oracle" not in page.lower()
