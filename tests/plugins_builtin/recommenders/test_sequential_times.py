"""The time bias of `sequential`, against its definition in float64, and what a model can learn by it alone."""

import json
import math

import numpy as np
import polars as pl
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from naive_transformer import cross_entropy, naive_logits, numbers
from tiny_recipe import TEXT, run, write_recipe
from wrapped import one_by_one

from lwa_core import Catalogue, DataError, LwaError, ModelError, fit, load
from lwa_core.cli import main
from lwa_core.data import TimedHistory
from lwa_core.errors import StageError
from lwa_core.measuring.memory import measure
from lwa_core.modeling.files.saving import save_model
from lwa_core.modeling.gradients.taps import Weights
from lwa_core.modeling.layers.layered import LayeredModel
from lwa_core.modeling.probing.observation import observe
from lwa_core.modeling.probing.probe import Probe
from lwa_core.pipeline.plan import make_plan
from lwa_core.recipe.reader import load_recipe
from lwa_core.recommendation.fitting import score_histories
from lwa_core.testing import tiny_probe, tiny_recommender
from lwa_core.types import Quiet
from lwa_plugins.recommenders.sequential import Sequential
from lwa_plugins.recommenders.sequential.times import BUCKETS, gap_buckets
from lwa_plugins.scorers.laplace import Laplace

ITEMS, DAY = 30, 86_400_000
BLOCKS = ("pre-norm", "gated")


def history(items, times):
    return TimedHistory(np.array(items, dtype=np.int32), np.array(times, dtype=np.int64))


HISTORIES = [
    history([], []),
    history([3], [5 * DAY]),
    history([1, 2, 3, 1, 29], [0, 900, 60_000, DAY, 400 * DAY]),
    history([7, 7, 7, 8, 9, 10, 11, 12, 0, 5, 6, 4], DAY * np.array([1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 2000])),
]
TARGETS = np.array([4, 0, 29, 11])


def recommender(**settings):
    return tiny_recommender(**{"times": True, "dropout": 0.0, "layers": 2, **settings})


def built(**settings):
    """With biases large enough to matter."""
    asked = recommender(**settings)
    torch.manual_seed(0)
    model = asked.build(Catalogue(ids=tuple(map(str, range(ITEMS)))), Quiet())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_((1.0 if "gap_bias" in name else 0.1) * torch.randn_like(parameter))
    return asked, model.eval()


def bucket(gap):
    return math.floor(math.log(max(1.0, abs(gap) / 1000)) / 0.301)


def logits_alone(model, one):
    """Logits after every event of one history, in float64."""
    times, tables = [int(t) for t in one.times], [numbers(block.attention.gap_bias.weight) for block in model.blocks]

    def added(layer, head, query, key):
        return -np.inf if key > query else tables[layer][bucket(times[query] - times[key]), head]

    return naive_logits(model, one + 1, ITEMS, added)


@given(st.lists(st.integers(0, 60 * 365 * DAY), min_size=1, max_size=5), st.integers(0, 60 * 365 * DAY))
def test_buckets_are_whole_logarithms_of_the_gaps(times, query):
    (row,) = gap_buckets(torch.tensor([[query]]), torch.tensor([times]))[0]

    for found, time in zip(row.tolist(), times, strict=True):
        exact = math.log(max(1.0, abs(query - time) / 1000)) / 0.301
        assert 0 <= found < BUCKETS
        assert found == math.floor(exact) or abs(exact - round(exact)) < 1e-2


@pytest.mark.parametrize("block", BLOCKS)
def test_scores_are_those_of_naive_attention_with_the_bias(block):
    asked, model = built(block=block)
    expected = [logits_alone(model, one)[-1] for one in HISTORIES[1:]]

    scores = score_histories(asked, model, HISTORIES)
    batch = asked.example_batch(HISTORIES, TARGETS)
    hidden, _ = asked.encode(model, batch)

    np.testing.assert_allclose(scores[1:], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(asked.head(model, hidden).detach(), scores, rtol=1e-4, atol=1e-5)
    alone = [score_histories(asked, model, [one])[0] for one in HISTORIES]
    torch.testing.assert_close(scores, torch.stack(alone), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dropped", [0.0, 1e-9])
def test_the_loss_is_that_of_every_next_item(dropped):
    """Also on the path that training takes where it drops."""
    asked, model = built(dropout=dropped)
    model.train()
    windows = HISTORIES[2:]

    losses = asked.loss(model, asked.training_batch(windows))

    for total, window in zip(losses.total.tolist(), windows, strict=True):
        logits = logits_alone(model, window[:-1])
        assert total == pytest.approx(sum(cross_entropy(*pair) for pair in zip(logits, window[1:], strict=True)), 1e-4)


@pytest.mark.parametrize("shift", [1, -5 * DAY, 40 * 365 * DAY])
def test_only_differences_of_times_count(shift):
    asked, model = built()
    shifted = [TimedHistory(np.asarray(one), one.times + shift) for one in HISTORIES]

    assert torch.equal(score_histories(asked, model, HISTORIES), score_histories(asked, model, shifted))


def test_no_position_knows_a_later_time_nor_that_of_its_target():
    asked, model = built()
    whole = HISTORIES[3]
    moved = whole.times.copy()
    moved[6:] += 900 * DAY
    batches = [asked.training_batch([one]) for one in (whole, TimedHistory(np.asarray(whole), moved))]

    before, after = (model(batch["input_ids"], batch["times"]).last_hidden_state[0] for batch in batches)

    assert torch.equal(before[:6], after[:6])  # the target of position 5 is event 6
    assert bool(((before[6:] - after[6:]).abs().amax(dim=1) > 1e-4).all())


@pytest.mark.parametrize("block", BLOCKS)
def test_answers_about_layers_are_those_of_models_without_them(block):
    asked, model = built(block=block, layers=3)
    probe = Probe(LayeredModel(model), asked, HISTORIES, TARGETS, batch=3)
    assert asked.has_fast_tail(model)

    for kept, losses in zip(probe.subsets()[1:], -probe.evaluate(probe.subsets()[1:]), strict=True):
        alone = probe.model.keep(kept).model
        for one, target, loss in list(zip(HISTORIES, TARGETS, losses, strict=True))[1:]:
            assert loss == pytest.approx(cross_entropy(logits_alone(alone, one)[-1], target), rel=1e-4)


def test_gradients_of_the_biases_are_told_apart_by_example():
    asked, model = built()
    probe = Probe(LayeredModel(model), asked, HISTORIES, TARGETS, batch=4)
    assert Weights(probe.model).unknown is None

    norms = torch.cat([seen.gradient_norms for seen in observe(probe, {"gradient_norms"})])
    rows = one_by_one(probe)
    for row, example in enumerate(probe.order):
        for index, gradients in enumerate(rows[example]):
            own = float(sum(g.square().sum() for g in gradients.values()))
            assert float(norms[row, index]) == pytest.approx(own, rel=1e-3)
    assert bool(model.blocks[0].attention.gap_bias.weight.requires_grad)


@pytest.mark.parametrize("structure", ["kfac", "diagonal"])
def test_a_posterior_can_be_fitted(structure):
    asked, model = built()
    probe = Probe(LayeredModel(model), asked, HISTORIES, TARGETS, batch=4, training_targets=100)

    table = Laplace(structure=structure, samples=0).score(probe)

    assert table.shape == (4, 2)
    assert bool((table > 0).all())


def test_attention_can_be_seen():
    asked, model = built()
    probe = Probe(LayeredModel(model), asked, HISTORIES[1:], TARGETS[1:], batch=3)
    (seen,) = observe(probe, {"attention"})

    for layer in seen.attention:
        time = layer.probabilities.shape[-1]
        assert torch.equal(layer.visible.expand(3, 2, time)[0, 0], torch.arange(1, time + 1))
        torch.testing.assert_close(layer.probabilities.sum(dim=-1), torch.ones(3, 2, time))


def test_a_rule_that_only_the_gaps_tell_is_learnt_with_times_alone():
    """The last item is 0 where the events before it follow each other fast, and 1 where they do not."""

    def window():
        gap = int(rng.choice([60_000, 30 * DAY]))
        return history([*rng.integers(2, 12, 5), int(gap > DAY)], [*(gap * np.arange(5)), 5 * gap + rng.integers(DAY)])

    right = {}
    for times in (False, True):
        rng = np.random.default_rng(0)
        asked = recommender(times=times, width=32, layers=1, max_length=8)
        torch.manual_seed(0)
        model = asked.build(Catalogue(ids=tuple(map(str, range(12)))), Quiet())
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        model.train()
        loss = torch.tensor(torch.inf)
        for _ in range(500 if times else 100):  # with times it takes 127 to 196 steps with six seeds
            if loss < 0.01:
                break
            optimizer.zero_grad()
            batch = asked.training_batch([window() for _ in range(48)])
            batch["labels"][:, :4] = 0  # the rest is noise
            loss = asked.loss(model, batch).overall
            loss.backward()
            optimizer.step()
        model.eval()
        windows = [window() for _ in range(200)]
        wanted = np.array([int(one[5]) for one in windows])
        scores = score_histories(asked, model, [one[:5] for one in windows])
        right[times] = float((scores.argmax(dim=1).numpy() == wanted).mean())

    assert right[False] < 0.65
    assert right[True] > 0.95


def test_a_saved_model_answers_the_same(tmp_path):
    asked, model = built()
    save_model(model, tmp_path)

    torch.testing.assert_close(
        score_histories(asked, asked.load(tmp_path), HISTORIES), score_histories(asked, model, HISTORIES)
    )
    with pytest.raises(ModelError, match="was made for times = true"):
        Sequential(checkpoint=str(tmp_path)).build(Catalogue(ids=tuple(map(str, range(ITEMS)))), Quiet())


def test_what_lacks_times_is_refused():
    asked, model = built()
    with pytest.raises(ModelError, match="was given a history without any"):
        asked.example_batch([np.array([1, 2], dtype=np.int32)])
    with pytest.raises(ModelError, match="called without any"):
        model(torch.ones(1, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="has no time"):
        Sequential(times=True, objective="masked")
    frame = pl.DataFrame({"user": [u for u in range(8) for _ in range(4)], "item": [0, 1, 2, 3] * 8})
    with pytest.raises(DataError, match="looks at the times of events, and the data has none"):
        fit(frame, times=True, epochs=1)


@pytest.fixture(scope="module")
def timed_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("timed")
    text = TEXT.replace('use = "sequential"', 'use = "sequential"\ntimes = true').replace("epochs = 3", "epochs = 1")
    text = text.replace("epochs = 2", "epochs = 1").replace("keep = [2, 1]", "keep = 2")
    text = text.replace("users = 120", "users = 60").replace("layers = 3", "layers = 2").replace("keep = 2", "keep = 1")
    return run(folder, folder / "store", text=text)[0]


def test_a_whole_run_with_times(timed_run):
    ranker = load(timed_run)
    ids = ranker.catalogue.ids[:3]
    first = ranker.recommend(ids, k=5, times=[0, 100, 200])

    assert first == ranker.recommend(ids, k=5, times=[1.7e9, 1.7e9 + 100, 1.7e9 + 200])
    assert first.scores != ranker.recommend(ids, k=5, times=[0, 1e6, 5e8]).scores
    assert first.scores == ranker.recommend(["?", *ids], k=5, times=[0, 0, 100, 200]).scores
    assert ranker.recommend_many([ids, []], k=5, times=[[0, 100, 200], []])[0].items == first.items
    for times, said in [(None, "looks at the times"), ([1, 2], "2 times for a history of 3"), ([3, 2, 1], "fall")]:
        with pytest.raises(LwaError, match=said):
            ranker.recommend(ids, times=times)
    with pytest.raises(LwaError, match="times of 1 histories for 2"):
        ranker.recommend_many([ids, ids], times=[[0, 1, 2]])
    assert measure(timed_run / "models" / "teacher", [{"history": list(ids), "times": [0, 1, 2]}])["model"] > 0


def test_the_command_line_recommends_with_times(timed_run, tmp_path):
    ids = load(timed_run).catalogue.ids[:3]

    def asked(*arguments):
        return CliRunner().invoke(main, ["recommend", str(timed_run), *arguments])

    single = asked("--history", ",".join(ids), "--times", "0,100,200", "--json")
    file = tmp_path / "lines.jsonl"
    file.write_text(json.dumps({"history": ids, "times": [0, 100, 200], "user": 7}) + "\n")
    many = json.loads(asked("--input", str(file)).stdout)

    assert json.loads(single.stdout)["items"] == many["items"]
    assert (many["user"], many["times"]) == (7, [0, 100, 200])
    for line, said in [(list(ids), "no times of the history"), ({"history": ids, "times": [3, 2, 1]}, "fall")]:
        file.write_text(json.dumps(line) + "\n")
        result = asked("--input", str(file))
        assert result.exit_code == DataError.exit_code
        assert f"{file}:1:" in result.stderr
        assert said in result.stderr
    assert asked("--history", "1", "--times", "soon").exit_code == DataError.exit_code
    assert asked("--input", str(file), "--times", "1").exit_code == 2


def test_data_without_times_is_an_error_at_the_line_of_the_recommender(tmp_path):
    (tmp_path / "pairs.txt").write_text("".join(f"{u} {i}\n" for u in range(1, 30) for i in range(1, 8)))
    begin = TEXT.index("[data]")
    text = '[data]\nuse = "sequences"\npath = "pairs.txt"\n\n' + TEXT[TEXT.index("[recommender]") :]
    text = TEXT[:begin] + text.replace('use = "sequential"', 'use = "sequential"\ntimes = true')
    line = text[: text.index("[recommender]")].count("\n") + 1

    with pytest.raises(StageError, match=rf"'teacher' \(.*tiny\.toml:{line}\) failed: the recommender looks at"):
        run(tmp_path, tmp_path / "store", text=text)


def test_data_is_stored_with_times_only_for_who_asks(tmp_path):
    keys = {}
    for times in ("", "\ntimes = false", "\ntimes = true"):
        text = TEXT.replace('use = "sequential"', f'use = "sequential"{times}')
        keys[times] = make_plan(load_recipe(write_recipe(tmp_path, text))).data.key

    assert keys[""] == keys["\ntimes = false"] != keys["\ntimes = true"]


def test_a_tiny_probe_of_such_a_recommender_has_times():
    probe = tiny_probe(recommender(), examples=5)

    assert {type(each) for each in probe.histories} == {TimedHistory}
    assert probe.evaluate([[0], [0, 1]]).shape == (2, 5)
