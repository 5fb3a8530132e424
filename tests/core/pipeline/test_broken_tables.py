"""A table of all sets of layers in which some answer is not finite is compared by nobody, and it is said."""

import json
from types import SimpleNamespace

import pytest
from heard import Heard
from layer_games import without_layer_0_it_overflows

from lwa_core.bench.cell import _Cell
from lwa_core.errors import LwaError
from lwa_core.pipeline.stages import optimality
from lwa_core.types import DepthPlan


def test_a_benchmark_names_layers_whose_losses_are_not_finite():
    cell = SimpleNamespace(depth=3, run=SimpleNamespace(bus=SimpleNamespace(emit=lambda *_, **__: None)))

    with pytest.raises(
        LwaError, match=r"\d of 8 sets of layers .* with just layers 1(,2)?: on \d+ of 12 test examples"
    ):
        _Cell._table(cell, "test", without_layer_0_it_overflows())


class Job(SimpleNamespace):
    """As a stage gets it."""

    def __getitem__(self, name):
        return SimpleNamespace(live=None)


@pytest.mark.parametrize(("utility", "compared"), [("loss", False), ("ndcg", True)])
def test_the_comparison_with_all_sets_is_left_out_with_a_warning(tmp_path, monkeypatch, utility, compared):
    heard = Heard()
    job = Job(
        stage=SimpleNamespace(inputs={"teacher": None}),
        run=SimpleNamespace(store=None),
        report=heard,
        folder=tmp_path,
    )
    monkeypatch.setattr(optimality, "answers_key", lambda *_: "")
    monkeypatch.setattr(optimality, "stored_answers", lambda *_: None)
    monkeypatch.setattr(optimality, "make_probe", lambda *_: without_layer_0_it_overflows(utility))
    measurement = SimpleNamespace(bootstrap=200, confidence=0.95)
    task = SimpleNamespace(recipe=SimpleNamespace(seed=0, measurement=measurement))

    optimality._compare(task, DepthPlan(3, [(0, 2)]), job)

    found = json.loads((tmp_path / optimality.FILE).read_text("utf-8"))
    assert compared == (found is not None)
    assert compared == ("sets of layers give answers that are not finite" not in str(heard.warnings))
