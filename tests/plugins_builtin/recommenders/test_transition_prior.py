"""The table of transitions inside networks: against the fitted table, against refitted ones, and as a prior."""

import json

import numpy as np
import polars as pl
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_recipe import TEXT, write_recipe
from transition_knobs import knobs

pytest.importorskip("sklearn")

from lwa_core import Catalogue, LayeredModel, RecipeError, fit, load
from lwa_core.modeling import cross_entropy
from lwa_core.pipeline.run import run_recipe
from lwa_core.recipe.reader import check_recipe, load_recipe
from lwa_core.recommendation.fitting import _best_share
from lwa_core.recommendation.transitions import Counting, TransitionSettings, count_transitions, fit_transitions
from lwa_core.report.answer import baseline
from lwa_core.results.reading import read_results
from lwa_core.store.results import Store
from lwa_core.types import Quiet
from lwa_plugins.recommenders import _transitions as module
from lwa_plugins.recommenders._transitions import (
    NONE,
    TransitionTable,
    facts_of,
    fit_likelihood,
    items_around,
    last_items,
)
from lwa_plugins.recommenders.sequential import Sequential
from lwa_plugins.recommenders.sequential.losses import sampled_softmax

ITEMS = 12
TITLED = Catalogue(
    tuple(f"i{item:02d}" for item in range(ITEMS)),
    titles=tuple(f"w{item % 3} v{item % 4}" for item in range(ITEMS)),
)


def walks(seed=0, users=30, items=ITEMS):
    """Sequences of different lengths without an item twice."""
    rng = np.random.default_rng(seed)
    return [rng.permutation(items)[: rng.integers(2, items)].astype(np.int32) for _ in range(users)]


def filled(table):
    made = TransitionTable(len(table.shares), facts_of(table))
    made.fill(table)
    return made


def asked_by(histories, seen):
    ids = torch.full((len(histories), seen), NONE)
    for row, history in enumerate(histories):
        newest = torch.from_numpy(np.asarray(history[-seen:], dtype=np.int64))
        if len(newest):
            ids[row, seen - len(newest) :] = newest
    return ids


@pytest.fixture(params=["dense", "sparse"])
def kind(request, monkeypatch):
    """Rows are had from a dense copy of small tables, and entry by entry of large ones."""
    if request.param == "sparse":
        monkeypatch.setattr(module, "DENSE", 0)


@settings(deadline=None, max_examples=60)
@given(knobs, st.integers(0, 10**6), st.booleans())
def test_it_scores_as_the_fitted_table_does(chosen, seed, dense):
    sequences = walks(seed)
    table = fit_transitions(sequences, TITLED, chosen)
    histories = [*sequences, *(sequence[:1] for sequence in sequences), np.zeros(0, dtype=np.int32)]
    before, module.DENSE = module.DENSE, module.DENSE if dense else 0
    try:
        given_ = filled(table)(asked_by(histories, chosen.history)).double()
    finally:
        module.DENSE = before
    expected = table.scores(histories)
    scale = max(1.0, float(expected.abs().max()))
    assert float((given_ - expected).abs().max()) < 2e-5 * scale


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize("scale", [None, 1e-2])
@pytest.mark.parametrize("reverse", [0.0, 0.5])
@pytest.mark.parametrize(("power", "correction"), [(0.0, 0.0), (1.0, 0.75)])
def test_what_a_sequence_added_is_left_out_of_the_score_of_its_own_targets(scale, reverse, power, correction):
    """As of a table that the sequence was not fitted to, where rows are divided by the sums that they had with it."""
    counting = Counting(window=12, fade=0.9, power=power, reverse=reverse)
    chosen = TransitionSettings(counting, 0.5, correction, scale, 4, 0.7, 0.0, 0.8, 0.6)
    sequences = walks(users=12)
    table = filled(fit_transitions(sequences, TITLED, chosen))
    whole = count_transitions(sequences, ITEMS, counting)
    rows = (whole.sums / whole.sums.mean()) ** (1 - chosen.evidence) / whole.sums
    for place, sequence in enumerate(sequences):
        others = count_transitions(sequences[:place] + sequences[place + 1 :], ITEMS, counting)
        events = np.maximum(whole.shares * whole.events - np.isin(np.arange(ITEMS), sequence), 0.5)
        shares = events / whole.events
        weighed = others.table.toarray() * others.sums[:, None] * rows[:, None] / (ITEMS * shares) ** correction
        evidence = weighed if scale is None else np.log1p(weighed / scale)
        asked = items_around(torch.from_numpy(sequence.astype(np.int64))[None], table.seen, table.around)[0]
        scores = table(asked).double()
        for step, target in enumerate(sequence[1:].tolist()):
            expected = chosen.popularity * np.log(shares[target])
            for age, item in enumerate(sequence[: step + 1][::-1][: chosen.history]):
                expected += chosen.decay**age * evidence[item, target]
            assert float(scores[step, target]) == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_ids_around_a_place_hold_those_that_were_last():
    ids = torch.arange(10).reshape(2, 5)
    around, last = items_around(ids, 3, 2), last_items(ids, 3)
    assert torch.equal(around[:, :, 2:5], last[:, :-1])
    assert around[0, 2].tolist() == [NONE, NONE, 0, 1, 2, 3, 4]
    assert around[1, 3].tolist() == [NONE, 5, 6, 7, 8, 9, NONE]


def test_a_random_sequence_is_no_better_known_than_a_new_one():
    """Its own pairs left out, the table knows nothing of what came next; with them it would seem to know a lot."""
    rng = np.random.default_rng(1)
    sequences = [rng.integers(0, 200, 12).astype(np.int32) for _ in range(80)]
    catalogue = Catalogue(tuple(map(str, range(200))))
    chosen = TransitionSettings(Counting(4), 0.0, 0.5, 1e-3, 4, 0.8, 0.0, 0.8, 0.0)
    table = filled(fit_transitions(sequences, catalogue, chosen))
    ids = torch.from_numpy(np.stack(sequences).astype(np.int64))
    around = items_around(ids, table.seen, table.around).flatten(0, 1)
    plain = around[:, table.around : table.around + table.seen]
    targets = ids[:, 1:].flatten()

    def found(scores):
        own = scores.gather(1, targets[:, None])
        above, tied = (scores > own).sum(dim=1), (scores == own).sum(dim=1) - 1
        return float((above + tied / 2 < 10).float().mean())

    assert found(table(plain)) > 0.6
    assert found(table(around)) < 0.15  # 0.05 by chance


# The loss


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(1, 600))
def test_the_loss_with_a_prior_and_its_gradients_are_those_of_plain_logits(seed, targets):
    generator = torch.Generator().manual_seed(seed)
    hidden, table, known = (torch.randn(shape, generator=generator) for shape in ((targets, 5), (9, 5), (targets, 9)))
    labels = torch.randint(9, (targets,), generator=generator)
    weights = torch.rand(targets, generator=generator)
    ours = [each.clone().requires_grad_() for each in (hidden, table, torch.tensor(0.7))]
    plain = [each.double().requires_grad_() for each in (hidden, table, torch.tensor(0.7))]

    losses = cross_entropy(ours[0], ours[1], labels, lambda rows: known[rows], ours[2])
    logits = plain[0] @ plain[1].T + plain[2] * known.double()
    expected = F.cross_entropy(logits, labels, reduction="none")

    assert torch.allclose(losses.double(), expected, rtol=1e-4, atol=1e-5)
    (losses * weights).sum().backward()
    (expected * weights.double()).sum().backward()
    for one, other in zip(ours, plain, strict=True):
        assert torch.allclose(one.grad.double(), other.grad, rtol=1e-3, atol=1e-4)


def test_a_sampled_loss_with_every_item_is_the_full_one():
    torch.manual_seed(0)
    hidden, table, known = torch.randn(300, 4), torch.randn(7, 4), torch.randn(300, 7)
    labels, scale = torch.randint(7, (300,)), torch.tensor(1.3, requires_grad=True)
    sampled = sampled_softmax(hidden, table, labels, torch.randperm(7), lambda rows: known[rows], scale)
    full = F.cross_entropy(hidden @ table.T + 1.3 * known, labels, reduction="none")
    assert torch.allclose(sampled, full, atol=1e-5)
    (gradient,) = torch.autograd.grad(sampled.sum(), scale)
    probabilities = (hidden @ table.T + 1.3 * known).softmax(dim=1)
    expected = (probabilities * known).sum() - known.gather(1, labels[:, None]).sum()
    assert float(gradient) == pytest.approx(float(expected), rel=1e-4)


def test_the_first_factor_is_that_of_the_highest_likelihood():
    table = filled(fit_transitions(walks(), TITLED, TransitionSettings()))
    ids = asked_by(walks(1), table.seen)
    table.facts["offset"] = 0.1
    truth = 2.5 * table.logits(ids)
    targets = torch.distributions.Categorical(logits=truth).sample((200,)).flatten()

    fit_likelihood(table, ids.repeat(200, 1), targets)

    fitted = table.scale.detach() * table.logits(ids)
    losses = [float(F.cross_entropy(logits.repeat(200, 1), targets)) for logits in (fitted, truth)]
    assert losses[0] < losses[1] + 1e-3
    for factor in (0.8, 1.25):
        assert float(F.cross_entropy(factor * fitted.repeat(200, 1), targets)) > losses[0]


def test_logits_keep_the_order_of_the_scores():
    table = filled(fit_transitions(walks(), TITLED, TransitionSettings()))
    ids = asked_by(walks(1), table.seen)
    for offset in (1e-3, 1.0, 100.0):
        table.facts["offset"] = offset
        order, expected = table.logits(ids).argsort(dim=1), table(ids).argsort(dim=1)
        assert torch.equal(table(ids).gather(1, order), table(ids).gather(1, expected))
        assert float(table.logits(ids).min()) >= 0


# In the network


def with_prior(chosen=None, **given_):
    asked = Sequential(**{"prior": "transitions", "width": 8, "layers": 2, "max_length": 8, **given_})
    torch.manual_seed(0)
    model = asked.build(TITLED, Quiet())
    sequences = walks()
    chosen = chosen or TransitionSettings(Counting(3), 0.5, 0.75, 1e-2, 4, 0.7, 0.5, 0.8, 1.0)
    table = fit_transitions(sequences, TITLED, chosen)
    return asked, asked.with_transitions(model, table, sequences).eval(), table, sequences


def test_a_network_that_says_nothing_ranks_as_the_table_does():
    asked, model, table, sequences = with_prior()
    with torch.no_grad():
        model.norm.weight.zero_()
    histories = [sequence[:5] for sequence in sequences]
    scores = asked.scores(model, asked.example_batch(histories)) / model.prior.scale
    expected = table.scores(histories)
    lowest, offset = table.popularity.min(), model.prior.facts["offset"]
    assert torch.allclose(scores.double(), torch.log1p((expected - lowest).clamp(min=0) / offset), atol=1e-5)


def test_every_way_to_ask_gives_the_same():
    asked, model, _, sequences = with_prior()
    histories = [sequence[:5] for sequence in sequences]
    targets = np.arange(len(histories)) % ITEMS
    batch = asked.example_batch(histories, targets)
    hidden, _ = asked.encode(model, batch)
    logits = asked.head(model, hidden)
    assert torch.allclose(logits, asked.scores(model, batch), atol=1e-5)
    with LayeredModel(model).observe() as states:
        model(input_ids=batch["input_ids"])
    tail = asked.head(model, asked.tail(model, states[-1], batch))
    last = asked.head(model, asked.last_layer(model, model.blocks[-1], states[-2], batch))
    assert torch.allclose(tail, logits, atol=1e-5)
    assert torch.allclose(last, logits, atol=1e-5)
    losses = asked.loss(model, batch)
    assert torch.allclose(losses.total, F.cross_entropy(logits, torch.from_numpy(targets), reduction="none"), atol=1e-5)


def test_the_head_is_linear_in_the_states():
    asked, model, _, _ = with_prior()
    hidden, _ = asked.encode(model, asked.example_batch([np.array([1, 2])], np.array([3])))
    unit = torch.eye(hidden.shape[1])
    vectors = asked.head(model, unit) - asked.head(model, torch.zeros_like(unit[:1]))
    assert torch.allclose(vectors[:8], model.item_table().T, atol=1e-5)
    assert float(vectors[8:].detach().abs().max()) == 0


def test_training_does_not_see_what_its_own_sequence_added():
    asked, model, _, sequences = with_prior(dropout=0.0)
    with torch.no_grad():
        model.norm.weight.zero_()
    batch = asked.training_batch(asked.training_windows(sequences))
    known = float(asked.loss(model.eval(), batch).overall.detach())
    assert float(asked.loss(model.train(), batch).overall.detach()) > known + 0.05


@pytest.mark.parametrize(
    ("given_", "said"),
    [({"objective": "masked"}, "next-item"), ({"training_loss": "gbce"}, "cross-entropy")],
)
def test_what_a_prior_does_not_go_with(given_, said):
    with pytest.raises(ValueError, match=said):
        Sequential(prior="transitions", **given_)


@pytest.mark.parametrize("best", range(5))
def test_as_much_of_the_network_is_heard_as_ranks_validation_best(best):
    asked, model, _, _ = with_prior()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    given_ = iter([float(place == best) for place in range(5)])
    heard = []

    def validation():
        heard.append(float(model.norm.weight.detach()[0]))
        return next(given_)

    assert _best_share(asked, model, validation) == 0.5**best
    assert heard == [0.5**place for place in range(5)]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_share_scales_what_is_added_to_the_table_and_nothing_else():
    asked, model, _, sequences = with_prior()
    batch = asked.example_batch([sequence[:5] for sequence in sequences])
    whole = asked.scores(model, batch)
    asked.weigh_network(model, 0.0)
    table = asked.scores(model, batch)
    _, other, _, _ = with_prior()
    asked.weigh_network(other, 0.25)
    assert torch.allclose(asked.scores(other, batch), table + 0.25 * (whole - table), atol=1e-5)


# Kept, cut, continued


def frame(users=60, items=ITEMS, length=8):
    rng = np.random.default_rng(0)
    rows = [(f"u{user}", f"i{item:02d}") for user in range(users) for item in rng.permutation(items)[:length].tolist()]
    return pl.DataFrame(rows, schema=["user", "item"], orient="row")


TINY = {"layers": 2, "width": 8, "max_length": 8, "epochs": 2, "batch": 16, "prior": "transitions"}


@pytest.fixture(scope="module")
def trained():
    return fit(frame(), **TINY)


def test_it_answers_the_same_when_it_was_saved(trained, tmp_path):
    trained.save(tmp_path / "model")
    again = load(tmp_path / "model")
    for history in ([], ["i01"], ["i03", "i04", "i09"]):
        assert trained.score(history, TITLED.ids) == again.score(history, TITLED.ids)
    told = json.loads((tmp_path / "model" / "config.json").read_text("utf-8"))
    assert told["transitions"]["history"] >= 1
    assert again.model.prior.log_scale.requires_grad


def test_a_cut_model_has_the_prior(trained):
    cut = LayeredModel(trained.model).keep([1])
    assert torch.equal(cut.model.prior.evidence, trained.model.prior.evidence)
    ids = asked_by([[1, 2]], cut.model.prior.seen)
    assert torch.equal(cut.model.prior(ids), trained.model.prior(ids))


def test_a_model_that_goes_on_has_a_table_of_what_there_is_now(trained, tmp_path):
    trained.save(tmp_path / "model")
    going = {"checkpoint": str(tmp_path / "model"), "max_length": 8, "batch": 16, "epochs": 0, "prior": "transitions"}
    grown = fit(frame(items=ITEMS + 3, length=10), **going)
    assert grown.model.prior.items == ITEMS + 3
    assert torch.equal(grown.model.prior.log_scale, trained.model.prior.log_scale)
    assert all(np.isfinite(score) for score in grown.score(["i14"], ["i00", "i12", "i14"]).values())


# A recommender of its own


def test_the_table_alone_is_saved_loaded_and_asked(tmp_path):
    ranker = fit(frame(), "transitions")
    ranker.save(tmp_path / "model")
    again = load(tmp_path / "model")
    for history in ([], ["i01"], ["i03", "i04", "i09"]):
        assert ranker.recommend(history, k=5) == again.recommend(history, k=5)
        assert set(ranker.recommend(history, k=5).items).isdisjoint(history)


def test_the_table_alone_takes_no_settings():
    with pytest.raises(RecipeError, match="layers"):
        fit(frame(), "transitions", layers=2)


def of(kind, text=TEXT):
    """The tiny recipe with another recommender, and nothing that needs layers."""
    head, _, rest = text.partition("[recommender]")
    return f"{head}[recommender]\n{kind}\n\n[evaluate]{rest.partition('[evaluate]')[2]}"


def test_a_run_of_the_table_alone_ranks_as_the_baseline_does(tmp_path):
    recipe = load_recipe(write_recipe(tmp_path, of('use = "transitions"')))
    folder = run_recipe(recipe, Store(tmp_path / "store"))
    results = json.loads((folder / "metrics.json").read_text("utf-8"))
    teacher, table = (next(m for m in results["models"] if m["name"] == name) for name in ("teacher", "transitions"))
    assert teacher["depth"] == 0
    assert teacher["metrics"] == table["metrics"]
    (said,) = baseline(read_results(folder))
    assert "layers" not in said


@pytest.mark.slow
def test_a_run_with_a_prior_goes_from_teacher_to_students(tmp_path):
    text = TEXT.replace("layers = 3", 'layers = 3\nprior = "transitions"')
    folder = run_recipe(load_recipe(write_recipe(tmp_path, text)), Store(tmp_path / "store"))
    results = json.loads((folder / "metrics.json").read_text("utf-8"))
    assert [m["name"] for m in results["models"] if m["kind"] == "student"]
    student = load(folder, "distill-1")
    assert student.model.prior is not None
    assert student.recommend([student.catalogue.ids[0]], k=3).items


def test_layers_of_a_model_that_has_none_are_refused_in_words(tmp_path):
    text = TEXT.partition("[recommender]")[0] + '[recommender]\nuse = "transitions"\n\n[[score]]\nuse = "fisher"\n'
    recipe, problems = check_recipe(write_recipe(tmp_path, text))
    assert recipe is None or problems
    assert [problem.code for problem in problems] == ["no-layers"]
    assert "'transitions', has no layers" in problems[0].message
