"""`sequential` without an item table: items are what is known of them, trained on or not."""

import json

import numpy as np
import pytest
import tiny_recipe
import torch
from tiny_recipe import TEXT

from lwa_core import Catalogue, Examples, PreparedData, load
from lwa_core.modeling import LayeredModel
from lwa_core.modeling.files.saving import save_model
from lwa_core.recommendation.fitting import fit_model, score_histories
from lwa_core.testing import tiny_recommender
from lwa_core.types import Quiet
from lwa_plugins.recommenders.sequential import Sequential

ITEMS = 20
COLD, TWIN = 19, 3
HISTORIES = [np.array(items, dtype=np.int32) for items in ([3], [1, 2, 3, 1, 11], [7, 7, 8, 9, 10, 0, 5, 6])]
TARGETS = np.array([4, 0, 11])


def catalogue():
    return Catalogue(tuple(map(str, range(ITEMS))), categories=tuple((f"kind {i % 3}",) for i in range(ITEMS)))


@pytest.fixture
def vectors(tmp_path):
    """Vectors of all items; that of the cold one is that of its twin."""
    table = np.random.default_rng(0).normal(size=(ITEMS, 6)).astype(np.float32)
    table[COLD] = table[TWIN]
    np.save(tmp_path / "v.npy", table)
    (tmp_path / "v.json").write_text(json.dumps([str(i) for i in range(ITEMS)]), "utf-8")
    return str(tmp_path / "v.npy")


def built(vectors, **settings):
    asked = tiny_recommender(
        **{"layers": 2, "dropout": 0.0, "item_table": False, "vectors": (vectors,), "batch": 16, **settings}
    )
    torch.manual_seed(0)
    return asked, asked.build(catalogue(), Quiet())


def naive_table(model):
    """Maps of the vectors of each item and the mean of its attributes' embeddings, in float64."""
    side = model.side
    table = side.vectors_0.double() @ side.maps["0"].weight.double().T
    if side.attributes is not None:
        table = table + side.attributes.weight.double()[[i % 3 for i in range(ITEMS)]]
    return table.detach().numpy()


@pytest.mark.parametrize("objective", ["next-item", "masked"])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("categories", [False, True])
def test_items_are_what_is_known_of_them(vectors, objective, training, categories):
    _, model = built(vectors, objective=objective, categories=categories)
    model.train(training)
    expected, first = naive_table(model), model.config.first_item

    np.testing.assert_allclose(model.item_table().detach(), expected, rtol=1e-4, atol=1e-6)
    assert (first, model.config.hidden_size) == model.item_embedding.weight.shape
    assert ITEMS + first == model.get_input_embeddings().num_embeddings
    ids = torch.arange(12)[None]
    embedded = model._embedded(ids)[0].detach() - model.position_embedding.weight[:12].detach()
    np.testing.assert_allclose(embedded[first:], expected[: 12 - first], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(embedded[:first], model.item_embedding.weight.detach(), rtol=0, atol=1e-6)
    assert not embedded[0].any()


def test_scores_and_losses_are_products_with_the_projected_vectors(vectors):
    asked, model = built(vectors)
    model.eval()
    scores = score_histories(asked, model, HISTORIES)
    for history, row in zip(HISTORIES, scores, strict=True):
        state = model(torch.from_numpy(history.astype("int64"))[None] + 1).last_hidden_state[0, -1]
        np.testing.assert_allclose(row, naive_table(model) @ state.detach().double().numpy(), rtol=1e-4, atol=1e-5)
    losses = asked.loss(model, asked.example_batch(HISTORIES, TARGETS)).total
    expected = torch.nn.functional.cross_entropy(scores, torch.from_numpy(TARGETS), reduction="none")
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-5)


def test_vectors_are_frozen_and_the_projection_learns(vectors):
    asked, model = built(vectors)
    model.train()
    asked.loss(model, asked.training_batch(HISTORIES[1:])).overall.backward()

    assert "side.vectors_0" in dict(model.named_buffers())
    assert bool(model.side.maps["0"].weight.grad.any())
    assert not model.item_embedding.weight.grad.any()  # padding


def test_the_projected_vectors_are_made_once_while_nothing_changes(vectors, monkeypatch):
    asked, model = built(vectors)
    model.eval()
    made, real = [], type(model.side).forward
    monkeypatch.setattr(type(model.side), "forward", lambda self: made.append(1) or real(self))

    for _ in range(3):
        score_histories(asked, model, HISTORIES)
    assert len(made) == 1
    with torch.no_grad():
        model.side.maps["0"].weight.mul_(2)
    score_histories(asked, model, HISTORIES)
    assert len(made) == 2


@pytest.mark.parametrize("training_loss", ["cross-entropy", "sampled", "gbce"])
def test_a_cold_item_ranks_beside_the_warm_one_whose_vector_it_has(vectors, training_loss):
    asked, model = built(vectors, training_loss=training_loss, negatives=8)
    rng = np.random.default_rng(1)
    sequences = [rng.permutation(ITEMS - 1)[:8].astype(np.int32) for _ in range(60)]  # never the cold one
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    model.train()
    for _ in range(20):
        optimizer.zero_grad()
        asked.loss(model, asked.training_batch(asked.training_windows(sequences))).overall.backward()
        optimizer.step()
    scores = score_histories(asked, model.eval(), HISTORIES)

    torch.testing.assert_close(scores[:, COLD], scores[:, TWIN], rtol=1e-6, atol=1e-6)
    between = (scores > scores[:, [COLD]] + 1e-5).sum(dim=1) - (scores > scores[:, [TWIN]] + 1e-5).sum(dim=1)
    assert not between.any()
    assert float((scores[:, :COLD].std(dim=1)).min()) > 1e-3  # others are told apart


def test_without_anything_known_of_items_it_is_refused_before_training():
    with pytest.raises(ValueError, match="item_table = false needs vectors, attributes or categories"):
        Sequential(item_table=False)
    Sequential(item_table=False, categories=True)


def test_a_saved_or_cut_model_needs_no_files(vectors, tmp_path):
    asked, model = built(vectors)
    model.eval()
    (tmp_path / "v.npy").unlink()
    for number, each in enumerate((model, LayeredModel(model).keep([1]).model)):
        save_model(each, tmp_path / str(number))
        again = asked.load(tmp_path / str(number))

        assert not again.config.item_table
        torch.testing.assert_close(score_histories(asked, again, HISTORIES), score_histories(asked, each, HISTORIES))


def test_a_run_cuts_distils_and_quantises_it(tmp_path):
    text = TEXT.replace('use = "sequential"', 'use = "sequential"\nitem_table = false\ncategories = true')
    text = text.replace("keep = [2, 1]", "keep = [2]").replace("width = 16", "width = 64")
    text = text.replace("[evaluate]", '[[compress]]\nuse = "qlora"\nepochs = 1\nbatch = 32\n\n[evaluate]')

    folder, _ = tiny_recipe.run(tmp_path, tmp_path / "store", "recommender.epochs=1", text=text, smoke_test=True)

    metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
    names = [model["name"] for model in metrics["models"] if model["kind"] != "baseline"]
    assert ["teacher", "drop-2", "distill-2", "qlora-2"] == names
    for name in names:
        network = load(folder, name).model
        assert not network.config.item_table
        assert 1 == len(network.item_embedding.weight)


def test_fitting_trains_the_projection(vectors, tmp_path):
    asked, _ = built(vectors, epochs=2)
    items = np.tile(np.arange(10, dtype=np.int32), 12)
    offsets = np.arange(0, 121, 10)
    users = np.arange(12)
    none = Examples(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    data = PreparedData(
        catalogue(),
        tuple(map(str, users)),
        items,
        offsets,
        offsets[1:] - 2,
        Examples(users, offsets[1:] - 2),
        none,
        none,
    )
    started = asked.build(catalogue(), Quiet()).side.maps["0"].weight.detach().clone()
    model, trained = fit_model(asked, data, folder=tmp_path / "w", seed=0, filter_seen=False, report=Quiet())

    assert 2 == len(trained.history)
    assert not torch.allclose(started, model.side.maps["0"].weight.detach().cpu())
