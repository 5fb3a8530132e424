"""Attention and feed-forward as blocks of their own: the same function, and what a cut of them computes."""

import json

import numpy as np
import polars as pl
import pytest
import tiny_recipe
import torch
from naive_transformer import naive_attention, naive_feed_forward, norm, numbers
from tiny_recipe import TEXT

from lwa_core import Catalogue, LayeredModel, ModelError, fit, load
from lwa_core.types import Quiet
from lwa_plugins.recommenders.sequential import Sequential

SMALL = {"layers": 3, "width": 8, "max_length": 8, "epochs": 1, "batch": 16}
ITEMS = [f"i{number:02d}" for number in range(12)]
ASKED = [["i03"], ["i01", "i05", "i02"], ["i02", "i03", "i04", "i05", "i06", "i07", "i08", "i09", "i10"]]


def frame(users=30, length=8):
    rows = [(f"u{user}", ITEMS[(user + step) % 12], step) for user in range(users) for step in range(length)]
    return pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")


@pytest.fixture(scope="module", params=["pre-norm", "gated"])
def whole(request, tmp_path_factory):
    """A model of whole blocks with weights far from fresh ones, and its folder."""
    folder = tmp_path_factory.mktemp("whole") / "model"
    ranker = fit(frame(), block=request.param, **SMALL)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for weight in ranker.model.blocks.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
    ranker.save(folder)
    return ranker, folder


def apart(folder):
    return fit(frame(), checkpoint=folder, units="parts", max_length=8, epochs=0)


def test_a_model_taken_apart_gives_the_same_scores(whole, tmp_path):
    ranker, folder = whole

    parts = apart(folder)

    assert 6 == LayeredModel(parts.model).depth
    history = [np.array([ITEMS.index(item) for item in asked]) for asked in ASKED]
    torch.testing.assert_close(ranker.scores(history), parts.scores(history), rtol=1e-6, atol=1e-6)
    parts.save(tmp_path / "parts")
    again = load(tmp_path / "parts")
    assert torch.equal(parts.scores(history), again.scores(history))
    assert 6 == LayeredModel(apart(tmp_path / "parts").model).depth


@pytest.mark.parametrize("kept", [[0, 3, 4], [1], [2, 3], [1, 3, 5], [0, 2, 4, 5]])
def test_a_cut_of_parts_is_what_is_left_of_the_sum(whole, kept):
    ranker, folder = whole
    cut = LayeredModel(apart(folder).model).keep(kept).model.eval()
    ids = [4, 2, 9, 9, 1]

    x = numbers(ranker.model.item_embedding.weight)[ids] + numbers(ranker.model.position_embedding.weight)[: len(ids)]
    for unit in kept:
        block = ranker.model.blocks[unit // 2]
        causal = lambda head, query, key: 0.0 if key <= query else -np.inf  # noqa: E731
        x = naive_feed_forward(block, x) if unit % 2 else naive_attention(block, x, causal)
    expected = norm(ranker.model.norm, x)

    with torch.no_grad():
        states = cut(torch.tensor([ids])).last_hidden_state[0]
        last = cut.at(torch.tensor([ids]), torch.tensor([len(ids) - 1]))[0]
    np.testing.assert_allclose(states, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(last, expected[-1], rtol=1e-4, atol=1e-5)
    assert cut.can_be_asked_at()


def test_a_run_scores_and_removes_parts(tmp_path):
    text = TEXT.replace("keep = [2, 1]", "keep = [4, 2]")
    folder, _ = tiny_recipe.run(tmp_path, tmp_path / "store", "recommender.units='parts'", text=text)

    told = json.loads((folder / "metrics.json").read_text("utf-8"))
    (scores, *_) = told["scores"]
    assert 6 == len(scores["mean"])
    student = load(folder, "drop-4")
    kinds = student.model.config.part_types
    kept = next(model["layers"] for model in told["models"] if model["name"] == "drop-4")
    assert [("attention", "feed-forward")[layer % 2] for layer in kept] == kinds
    assert [block.part for block in student.model.blocks] == kinds


def test_a_time_bias_stays_with_the_attention():
    asked = Sequential(units="parts", times=True, **SMALL)
    model = asked.build(Catalogue(tuple(ITEMS)), Quiet()).eval()
    biased = [hasattr(block, "attention") and block.attention.gap_bias is not None for block in model.blocks]
    assert [True, False] * 3 == biased
    with torch.no_grad():
        ids, last, times = torch.tensor([[1, 2, 3, 0]]), torch.tensor([2]), torch.tensor([[0, 5, 90, 0]])
        states = model(ids, times).last_hidden_state[0, 2]
        torch.testing.assert_close(states, model.at(ids, last, times)[0])


def test_parts_do_not_become_whole_layers_again(whole, tmp_path):
    apart(whole[1]).save(tmp_path / "parts")
    asked = Sequential(checkpoint=str(tmp_path / "parts"), max_length=8)
    with pytest.raises(ModelError, match="are parts of layers"):
        asked.build(Catalogue(tuple(ITEMS)), Quiet())
