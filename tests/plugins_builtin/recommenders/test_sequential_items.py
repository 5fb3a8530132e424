"""Attributes and vectors of items in `sequential`: the fused table by its definition, and what it is good for."""

import io
import json
import random

import numpy as np
import polars as pl
import pytest
import safetensors.numpy
import torch
from heard import Heard
from safetensors.torch import load_file, save_file
from tiny_recipe import TEXT, write_recipe

from lwa_core import Catalogue, DataError, fit, load
from lwa_core.modeling.files.saving import save_model
from lwa_core.modeling.layers.layered import LayeredModel
from lwa_core.modeling.probing.observation import observe
from lwa_core.modeling.probing.probe import Probe
from lwa_core.pipeline.plan import make_plan
from lwa_core.recipe.reader import load_recipe
from lwa_core.recommendation.fitting import score_histories
from lwa_core.testing import tiny_recommender
from lwa_core.types import Quiet
from lwa_plugins.recommenders._item_files import item_facts, read_vectors
from lwa_plugins.recommenders.sequential import Sequential

ITEMS = 12
ATTRIBUTES = {"0": ["red", "big"], "1": ["red"], "4": [], "7": ["small", 3, "red"], "99": ["big"]}
CATEGORIES = tuple(("film", "old") if item % 3 == 0 else () for item in range(ITEMS))
HISTORIES = [np.array(items, dtype=np.int32) for items in ([3], [1, 2, 3, 1, 11], [7, 7, 8, 9, 10, 0, 5, 6])]
TARGETS = np.array([4, 0, 11])


def catalogue(items=ITEMS, **more):
    return Catalogue(ids=tuple(map(str, range(items))), **more)


def write(path, value):
    path.write_text(value if isinstance(value, str) else json.dumps(value), "utf-8")
    return str(path)


@pytest.fixture
def files(tmp_path):
    """Attributes, and two files of vectors: of all items in another order, and of some of them."""
    torch.manual_seed(0)
    order = [str(i) for i in reversed(range(ITEMS))]
    save_file({"text": torch.randn(ITEMS, 5, dtype=torch.bfloat16)}, tmp_path / "text.safetensors")
    write(tmp_path / "text.json", order)
    np.save(tmp_path / "image.npy", np.random.default_rng(0).normal(size=(4, 3)))
    write(tmp_path / "image.jsonl", '"5"\n3\n\n"0"\n"elsewhere"\n')
    return {
        "attributes": write(tmp_path / "attributes.json", ATTRIBUTES),
        "vectors": (str(tmp_path / "text.safetensors"), str(tmp_path / "image.npy")),
    }


def built(noise=0.1, report=None, **settings):
    asked = tiny_recommender(**{"layers": 2, "dropout": 0.0, **settings})
    torch.manual_seed(0)
    model = asked.build(catalogue(categories=CATEGORIES), report or Quiet())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(noise * torch.randn_like(parameter))
    return asked, model.eval()


def scaled(rows):
    """Vectors by id, of mean squared length 1 over the ids that are in the catalogue."""
    known = [row for item, row in rows.items() if item in set(catalogue().ids)]
    return {item: row / np.sqrt(np.mean([row @ row for row in known])) for item, row in rows.items()}


def naive_table(model, files, categories=True):
    """Own embedding + mean of the attributes' embeddings + maps of the vectors, item by item, in float64."""
    own = model.item_embedding.weight.detach().double().numpy()[model.config.first_item :]
    embeddings = model.side.attributes.weight.detach().double().numpy()
    named = [
        {*map(str, ATTRIBUTES.get(str(item), [])), *(CATEGORIES[item] if categories else ())} for item in range(ITEMS)
    ]
    words = sorted(set().union(*named))
    text = load_file(files["vectors"][0])["text"].double().numpy()
    text = scaled({str(ITEMS - 1 - row): vector for row, vector in enumerate(text)})
    image = scaled(dict(zip(["5", "3", "0", "elsewhere"], np.load(files["vectors"][1]), strict=True)))
    maps = [each.weight.detach().double().numpy() for each in model.side.maps.values()]
    table = []
    for item in range(ITEMS):
        row = own[item].copy()
        if named[item]:
            row += np.mean([embeddings[words.index(name)] for name in named[item]], axis=0)
        for vectors, matrix in zip((text, image), maps, strict=True):
            row += matrix @ vectors[str(item)] if str(item) in vectors else 0
        table.append(row)
    return np.array(table)


@pytest.mark.parametrize("objective", ["next-item", "masked"])
@pytest.mark.parametrize("training", [False, True])
def test_the_table_is_the_sum_of_what_is_known(files, objective, training):
    _, model = built(categories=True, objective=objective, **files)
    model.train(training)
    expected = naive_table(model, files)

    np.testing.assert_allclose(model.item_table().detach(), expected, rtol=1e-5, atol=1e-6)
    first = model.config.first_item
    ids = torch.arange(first + ITEMS)[None, :12]
    places = model.position_embedding.weight[:12].detach()
    embedded = model._embedded(ids)[0].detach() - places
    np.testing.assert_allclose(embedded[first:], expected[: 12 - first], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(embedded[0], model.item_embedding.weight[0].detach())  # padding has no side information


def test_scores_multiply_states_of_fused_items_with_the_fused_table(files):
    """As a plain model does whose own table is the fused one."""
    asked, model = built(categories=True, **files)
    plain, alike = built()
    alike.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("side.")})
    with torch.no_grad():
        alike.item_embedding.weight[1:] = torch.from_numpy(naive_table(model, files)).float()

    expected = score_histories(plain, alike, HISTORIES)
    torch.testing.assert_close(score_histories(asked, model, HISTORIES), expected, rtol=1e-4, atol=1e-5)
    losses = [
        recommender.loss(network, recommender.example_batch(HISTORIES, TARGETS)).total
        for recommender, network in ((asked, model), (plain, alike))
    ]
    torch.testing.assert_close(*losses, rtol=1e-4, atol=1e-5)


def test_gradients_reach_maps_and_attributes_and_no_padding(files):
    asked, model = built(categories=True, **files)
    model.train()
    asked.loss(model, asked.training_batch(HISTORIES[1:])).overall.backward()

    assert all(bool(parameter.grad.any()) for parameter in model.side.parameters())
    assert not model.item_embedding.weight.grad[0].any()
    weight, direction = model.side.maps["0"].weight, torch.randn(model.side.maps["0"].weight.shape)
    with torch.no_grad():
        losses = []
        for step in (1e-3, -1e-3):
            weight.add_(step * direction)
            losses.append(asked.loss(model, asked.training_batch(HISTORIES[1:])).overall.double())
            weight.sub_(step * direction)
    slope = float(losses[0] - losses[1]) / 2e-3
    assert float((weight.grad * direction).sum()) == pytest.approx(slope, rel=0.02)


def test_the_table_is_made_once_and_again_after_any_change(files, monkeypatch):
    asked, model = built(categories=True, **files)
    made, real = [], type(model.side).forward
    monkeypatch.setattr(type(model.side), "forward", lambda self: made.append(1) or real(self))

    def scores():
        return score_histories(asked, model, HISTORIES)

    first = scores()
    with torch.inference_mode():
        scores()
    assert len(made) == 1

    def step():
        model.train()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        asked.loss(model, asked.training_batch(HISTORIES[1:])).overall.backward()
        optimizer.step()
        model.eval()

    changes = [
        lambda: torch.nn.init.ones_(model.side.maps["0"].weight),
        lambda: torch.nn.init.normal_(model.side.attributes.weight),
        lambda: setattr(model.item_embedding.weight, "data", model.item_embedding.weight.data * 2),
        lambda: model.load_state_dict({k: v.clone() + (v.is_floating_point()) for k, v in model.state_dict().items()}),
        step,
    ]
    for change in changes:
        change()
        made.clear()
        second = scores()
        scores()
        assert len(made) == 1
        assert not torch.allclose(first, second)
        first = second


def test_a_scorer_is_answered_as_without_a_kept_table(files):
    asked, model = built(categories=True, layers=3, **files)
    probe = Probe(LayeredModel(model), asked, HISTORIES, TARGETS, batch=2)
    subsets = probe.subsets()
    losses = -probe.evaluate(subsets)
    norms = torch.cat([seen.gradient_norms for seen in observe(probe, {"gradient_norms"})])
    for row, example in enumerate(probe.order):
        one = next(probe.part([example]).batches())
        loss = torch.nn.functional.cross_entropy(probe.logits(one), one["targets"])
        for index, layer in enumerate(probe.model.layers):
            gradients = torch.autograd.grad(loss, list(layer.parameters()), retain_graph=True)
            assert float(norms[row, index]) == pytest.approx(float(sum(g.square().sum() for g in gradients)), rel=1e-3)
        for number, kept in enumerate(subsets):
            with probe.model.skipping(kept), torch.enable_grad():
                loss = torch.nn.functional.cross_entropy(probe.logits(one), one["targets"])
            assert losses[number, example] == pytest.approx(loss.item(), rel=1e-4)


def test_a_saved_model_needs_no_files(files, tmp_path):
    asked, model = built(categories=True, **files)
    cut = LayeredModel(model).keep([1]).model
    for name in ("attributes.json", "text.safetensors", "text.json", "image.npy", "image.jsonl"):
        (tmp_path / name).unlink()
    for number, each in enumerate((model, cut)):
        save_model(each, tmp_path / str(number))
        again = asked.load(tmp_path / str(number))
        torch.testing.assert_close(score_histories(asked, again, HISTORIES), score_histories(asked, each, HISTORIES))
        assert torch.equal(again.side.vectors_0, model.side.vectors_0)


def test_what_is_not_known_is_told_and_adds_nothing(files):
    heard = Heard()
    _, model = built(attributes=files["attributes"], vectors=files["vectors"], report=heard)

    assert heard.warnings == [
        (
            "side-information",
            "attributes.json has no attributes for 8 of 12 items and describes 1 items that are not in the data",
        ),
        (
            "side-information",
            "image.npy has no vector for 9 of 12 items and describes 1 items that are not in the data",
        ),
    ]
    model.side.maps["0"].weight.data.zero_()
    own = model.item_embedding.weight[1:]
    unknown = [item for item in range(ITEMS) if str(item) not in ATTRIBUTES and item not in (0, 3, 5)]
    assert torch.equal(model.item_table()[unknown], own[unknown])
    assert torch.equal(model.item_table()[4], own[4])  # it is known to have no attribute


def vectors_file(folder, table, ids):
    np.save(folder / "v.npy", np.asarray(table))
    write(folder / "v.json", ids)
    return str(folder / "v.npy")


@pytest.mark.parametrize(
    ("table", "ids", "said"),
    [
        (np.ones(3), ["0", "1", "2"], "float32 of shape \\(3,\\), not a table"),
        (np.ones((2, 2), dtype=int), ["0", "1"], "int64 of shape"),
        (np.ones((0, 2)), [], "shape \\(0, 2\\)"),
        (np.ones((3, 2)), ["0", "1"], "v.json: 2 ids for 3 vectors in v.npy"),
        (np.ones((2, 2)), ["1", "1"], "item '1' has two vectors"),
        ([[1, 2], [np.nan, 1]], ["0", "5"], "the vector of item '5' is not finite"),
        ([[1, 2], [np.inf, 1]], ["0", "5"], "the vector of item '5' is not finite"),
        (np.zeros((2, 2)), ["0", "5"], "all vectors of the catalogue's items are zero"),
        (np.ones((2, 2)), ["a", "b"], "the file knows none of the items"),
        (np.ones((2, 2)), {"a": 1}, "no list of item ids"),
        (np.ones((2, 2)), [1.5, 2], "no list of item ids"),
        (np.ones((2, 2)), "[", "is not JSON"),
        (np.array([{}]), ["0"], "cannot be read"),
    ],
)
def test_a_wrong_file_of_vectors_is_refused(tmp_path, table, ids, said):
    path = vectors_file(tmp_path, table, ids)

    with pytest.raises(DataError, match=said):
        item_facts(catalogue(), False, "", (path,), Quiet())


def test_wrong_files_are_refused(tmp_path):
    for name, content, said in [
        ("a.json", "[1]", "JSON object"),
        ("b.json", {"1": "red"}, "attributes of item '1' are no list"),
        ("c.json", {"1": [1.5]}, "attributes of item '1' are no list"),
        ("d.json", {"x": ["red"]}, "the file knows none of the items"),
        ("e.json", {"1": []}, "no item of the catalogue has an attribute"),
    ]:
        with pytest.raises(DataError, match=said):
            item_facts(catalogue(), False, write(tmp_path / name, content), (), Quiet())
    with pytest.raises(DataError, match="no such file"):
        Sequential(attributes=str(tmp_path / "nowhere.json")).files()
    (tmp_path / "v.safetensors").write_bytes(b"no header")
    with pytest.raises(DataError, match=r"needs its item ids beside it, in v\.json or v\.jsonl"):
        Sequential(vectors=(str(tmp_path / "v.safetensors"),)).files()
    with pytest.raises(DataError, match="cannot be read"):
        read_vectors(tmp_path / "v.safetensors")
    save_file({"a": torch.ones(1, 1), "b": torch.ones(1, 1)}, tmp_path / "two.safetensors")
    with pytest.raises(DataError, match="2 tensors"):
        read_vectors(tmp_path / "two.safetensors")
    with pytest.raises(DataError, match=r"\.safetensors or \.npy"):
        read_vectors(tmp_path / "a.json")
    with pytest.raises(DataError, match="no categories"):
        item_facts(catalogue(), True, "", (), Quiet())
    with pytest.raises(ValueError, match="a checkpoint has its own"):
        Sequential(checkpoint="somewhere", categories=True)


def clustered(folder, items=24, groups=4, size=8):
    """Items in groups; vectors that tell the group, with noise. Sequences stay in one group. The last item is new."""
    rng = np.random.default_rng(0)
    group = np.arange(items) % groups
    centers = np.linalg.qr(rng.normal(size=(size, groups)))[0].T
    vectors = centers[group] + 0.1 * rng.normal(size=(items, size))
    sequences = []
    for _ in range(80):
        own = np.flatnonzero(group == rng.integers(groups))
        sequences.append(rng.permutation(own[own < items - 1])[:5].astype(np.int32))
    own = [group[sequence[0]] == group[-1] for sequence in sequences]
    histories = [[s for s, mine in zip(sequences, own, strict=True) if mine == wanted] for wanted in (True, False)]
    return sequences, *histories, vectors_file(folder, vectors, [str(i) for i in range(items)])


def trained(asked, sequences, items):
    torch.manual_seed(0)
    model = asked.build(catalogue(items), Quiet())
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    model.train()
    for _ in range(120):
        optimizer.zero_grad()
        asked.loss(model, asked.training_batch(sequences)).overall.backward()
        optimizer.step()
    return model.eval()


def test_an_item_without_any_event_is_ranked_by_its_vector(tmp_path):
    """It comes further up after items of its own group than after others, which its own embedding cannot know."""
    sequences, own, others, path = clustered(tmp_path)
    further = {}
    for name, vectors in (("plain", ()), ("vectors", (path,))):
        asked = tiny_recommender(layers=1, dropout=0.0, vectors=vectors, training_loss="gbce", negatives=5)
        model = trained(asked, sequences, 24)
        ranks = []
        for histories in (own, others):
            scores = score_histories(asked, model, histories)
            ranks.append((scores > scores[:, -1:]).sum(dim=1).double().mean().item())
        further[name] = ranks[1] - ranks[0]

    assert abs(further["plain"]) < 4  # of 23 places
    assert further["vectors"] > 6


def test_data_is_not_needed_to_say_what_a_catalogue_knows():
    """The categories come from the catalogue alone, not from events."""
    facts = item_facts(catalogue(categories=CATEGORIES), True, "", (), Quiet())

    assert (facts.attributes, facts.flat.tolist()) == (2, [0, 1] * 4)
    assert np.diff(facts.offsets).tolist() == [2 if item % 3 == 0 else 0 for item in range(ITEMS)]


def test_the_teacher_is_made_again_where_a_file_changed(tmp_path):
    folder = tmp_path / "facts"
    folder.mkdir()
    vectors_file(folder, np.ones((2, 2)), ["1", "2"])
    write(folder / "a.json", {"1": ["red"]})
    text = TEXT.replace(
        'use = "sequential"', 'use = "sequential"\nvectors = ["facts/v.npy"]\nattributes = "facts/a.json"'
    )
    file = write_recipe(tmp_path, text)

    def key():
        return make_plan(load_recipe(file)).teacher.key

    keys = [key(), key()]
    for name, content in (("v.json", ["2", "1"]), ("a.json", {"1": ["blue"]})):
        write(folder / name, content)
        keys.append(key())
    vectors_file(folder, 2 * np.ones((2, 2)), ["2", "1"])
    keys.append(key())
    assert [keys.index(each) for each in keys] == [0, 0, 2, 3, 4]
    (folder / "v.json").unlink()
    with pytest.raises(DataError, match="needs its item ids beside it"):
        key()


def test_fitting_tells_what_is_not_known_and_the_model_recommends_without_the_files(tmp_path):
    heard = Heard()
    rows = [(user, (user + step) % 5) for user in range(8) for step in range(4)]
    frame = pl.DataFrame(rows, schema=["user", "item"], orient="row")
    path = vectors_file(tmp_path, np.ones((2, 2)), [0, 3])

    ranker = fit(frame, layers=1, width=8, epochs=1, vectors=[path], report=heard)
    ranker.save(tmp_path / "saved")
    (tmp_path / "v.npy").unlink()

    assert heard.warnings == [("side-information", "v.npy has no vector for 3 of 5 items")]
    assert load(tmp_path / "saved").recommend(["0", "1"], k=2) == ranker.recommend(["0", "1"], k=2)


def test_a_damaged_file_of_vectors_is_read_or_refused_in_words(tmp_path):
    rng = random.Random(0)
    files = {"v.npy": io.BytesIO(), "z.npy": io.BytesIO(), "v.safetensors": io.BytesIO()}
    np.save(files["v.npy"], np.ones((4, 3), dtype=np.float32))
    np.savez(files["z.npy"], np.ones((4, 3), dtype=np.float32))
    files["v.safetensors"].write(safetensors.numpy.save({"a": np.ones((4, 3), dtype=np.float32)}))
    strange = [b"", b"9", b"(", b"9" * 10, b"O", b"\0", b"[" * 300]
    refused = 0
    for name, file in files.items():
        path = tmp_path / name
        path.with_suffix(".json").write_text('["a", "b", "c", "d"]')
        for _ in range(80):
            data = bytearray(file.getvalue())
            for _ in range(rng.choice([1, 2, 5])):
                place = rng.randrange(min(len(data), 140))
                data[place : place + 1] = rng.choice(strange)
            path.write_bytes(data)
            try:
                _, rows = read_vectors(path)
                assert (4, np.float32) == (len(rows), rows.dtype.type)
            except DataError as error:
                refused += 1
                assert str(path) in error.message or ".json" in error.message  # noqa: PT017 -- part of the property
    assert refused > 100
