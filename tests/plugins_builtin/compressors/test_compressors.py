"""Every compressor does what its text says, to the student and to nothing else."""

from itertools import permutations

import bitsandbytes.functional as bnb
import four_bit
import numpy as np
import pytest
import torch
from bitsandbytes.nn import Linear4bit
from compression_jobs import KEPT, made_data, make_job, same, scores, weights
from heard import Heard

from lwa_core import LayeredModel, LayerScores, LwaError, ModelError, ScoreBoard
from lwa_core.modeling import Attention
from lwa_core.modeling.files.quantisation import quantise_nf4
from lwa_core.modeling.files.saving import save_model
from lwa_core.recommendation.fitting import score_histories
from lwa_core.testing import tiny_probe, tiny_recommender
from lwa_plugins.compressors import _losses
from lwa_plugins.compressors._losses import HiddenTargets, list_loss, soft_cross_entropy
from lwa_plugins.compressors.distill import Distill
from lwa_plugins.compressors.drop import Drop
from lwa_plugins.compressors.qlora import QLoRA


@pytest.fixture(scope="module")
def data():
    return made_data()


# drop


def test_drop_gives_the_teacher_without_the_other_layers(data, tmp_path):
    job = make_job(data, tmp_path)

    dropped = Drop().compress(job)

    with job.teacher.skipping(KEPT):
        torch.testing.assert_close(scores(job, job.teacher.model), scores(job, dropped), rtol=1e-5, atol=1e-6)
    assert same(weights(dropped), weights(job.teacher.keep(KEPT).model))
    assert job.trained is None


# The losses


def reference_loss(student, teacher, table, taught_table, labels, soft, temperature):
    """(1 − soft) · CE + soft · T² · KL(teacher ‖ student) in float64, target by target, from the definitions."""

    def distribution(state, rows, t):
        logits = np.array([state @ row for row in rows]) / t
        odds = np.exp(logits - logits.max())
        return odds / odds.sum()

    losses = []
    for given, wanted, label in zip(student, teacher, labels, strict=True):
        hard = -np.log(distribution(given, table, 1.0)[label])
        p, q = distribution(wanted, taught_table, temperature), distribution(given, table, temperature)
        kl = sum(a * (np.log(a) - np.log(b)) for a, b in zip(p, q, strict=True))
        losses.append((1 - soft) * hard + soft * temperature**2 * kl)
    return np.mean(losses)


def models_and_states(targets=9):
    recommender = tiny_recommender(layers=2)
    student, teacher = (tiny_probe(recommender, seed=seed).model.model for seed in (0, 1))
    generator = torch.Generator().manual_seed(0)
    given, wanted = (torch.randn(targets, 16, generator=generator) for _ in range(2))
    return recommender, student, teacher, given, wanted, torch.arange(targets) * 3


def double_table(model):
    return model.item_embedding.weight.detach().double().numpy()[1:]


@pytest.mark.parametrize("chunk", [1024, 4])
@pytest.mark.parametrize(("soft", "temperature"), [(0.0, 2.0), (1.0, 1.0), (1.0, 4.0), (0.7, 2.0), (0.3, 0.5)])
def test_the_loss_is_the_one_of_hinton(monkeypatch, soft, temperature, chunk):
    monkeypatch.setattr(_losses, "CHUNK", chunk)
    recommender, student, teacher, given, wanted, labels = models_and_states()

    loss = soft_cross_entropy(recommender, student, teacher, given, wanted, labels, soft, temperature)

    states = (given.double().numpy(), wanted.double().numpy())
    expected = reference_loss(*states, double_table(student), double_table(teacher), labels, soft, temperature)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_a_student_that_answers_as_its_teacher_has_no_soft_loss_and_no_gradient():
    recommender, student, _, given, _, labels = models_and_states()
    given.requires_grad_()

    loss = soft_cross_entropy(recommender, student, student, given, given.detach(), labels, 1.0, 2.0)
    loss.backward()

    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert float(given.grad.abs().max()) < 1e-6


def test_the_size_of_the_soft_gradient_hardly_depends_on_the_temperature():
    """Hinton et al. 2015, section 2: gradients shrink as 1/T², which T² makes up for where T is high."""
    recommender, student, teacher, given, wanted, labels = models_and_states()

    def gradient(temperature):
        state = given.clone().requires_grad_()
        soft_cross_entropy(recommender, student, teacher, state, wanted, labels, 1.0, temperature).backward()
        return state.grad.norm().item()

    assert gradient(100.0) == pytest.approx(gradient(200.0), rel=0.02)


def test_the_teacher_gets_no_gradient():
    recommender, student, teacher, given, wanted, labels = models_and_states()
    given.requires_grad_()
    wanted.requires_grad_()

    soft_cross_entropy(recommender, student, teacher, given, wanted, labels, 0.7, 2.0).backward()

    assert wanted.grad is None
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert given.grad is not None


def test_the_loss_of_a_list_is_that_of_drawing_it_item_by_item(monkeypatch):
    rng = np.random.default_rng(0)
    logits, taught = (torch.from_numpy(rng.normal(size=(4, 12))) for _ in range(2))
    drawn = torch.tensor([3, 7, 7, 0, 11])
    monkeypatch.setattr(torch, "randint", lambda *_, **__: drawn)

    loss = list_loss(logits, taught, top=5, others=5)

    expected = []
    for own, wanted in zip(logits.numpy(), taught.numpy(), strict=True):
        listed = list(np.argsort(-wanted)[:5])
        others = [item for item in drawn.tolist() if item not in listed]
        weights = [1 / np.log2(1 + place) for place in range(1, 6)]
        total = 0.0
        for place, item in enumerate(listed):
            odds = np.exp(own[item]) / (sum(np.exp(own[i]) for i in [*listed[place:], *others]))
            total -= weights[place] * np.log(odds)
        expected.append(total / sum(weights))
    np.testing.assert_allclose(loss.numpy(), expected)


def test_no_order_has_a_smaller_loss_than_the_teachers():
    taught = torch.arange(6.0)[None]
    losses = {
        order: list_loss(torch.tensor(order, dtype=torch.float)[None], taught, top=6, others=6).item()
        for order in permutations(range(6))
    }

    assert min(losses, key=losses.get) == tuple(range(6))


def test_a_list_longer_than_the_catalogue_is_all_of_it():
    assert torch.isfinite(list_loss(torch.zeros(2, 5), torch.arange(10.0).view(2, 5), top=50)).all()


def test_distillation_of_lists_brings_the_best_items_together(data, tmp_path):
    job = make_job(data, tmp_path)
    sequences = data.training_sequences()

    def shared(model):
        own, taught = (
            score_histories(job.subject, m.eval(), sequences).topk(5).indices for m in (model, job.teacher.model)
        )
        return float((own[:, :, None] == taught[:, None, :]).any(dim=2).float().mean())

    before = shared(Drop().compress(job))
    step = Distill(soft=1.0, top=10, hidden=0.0, epochs=6, batch=8, learning_rate=3e-3, patience=6)

    assert shared(step.compress(job)) > before + 0.1


def test_no_targets_cost_nothing():
    recommender, student, teacher, *_ = models_and_states()
    none = torch.zeros(0, 16)

    loss = soft_cross_entropy(recommender, student, teacher, none, none, torch.zeros(0, dtype=torch.long), 0.7, 2.0)

    assert loss.item() == 0.0


@pytest.mark.parametrize(
    ("kept", "depth", "boundaries"),
    [
        ((0, 2), 4, [2, 4]),
        ((1, 2), 4, [2, 4]),
        ((3,), 4, [4]),
        ((0, 1, 2, 3), 4, [1, 2, 3, 4]),
        ((0, 3, 5), 8, [3, 5, 8]),
    ],
)
def test_each_layer_stands_in_for_those_removed_behind_it(kept, depth, boundaries):
    """A state's number is that of the layer it enters; numbered states tell which of them are compared."""
    taught = [torch.full((1, 1, 2), float(number + 1)) for number in range(depth + 1)]
    valid = torch.ones(1, 1, dtype=torch.bool)
    seen = [taught[0], *(taught[number] for number in boundaries)]

    targets = HiddenTargets(kept, depth)

    assert targets.error(seen, taught, valid).item() == 0.0
    for place in range(1, len(seen)):
        moved = [*seen[:place], seen[place] + 1, *seen[place + 1 :]]
        assert targets.error(moved, taught, valid).item() > 0.0


def test_the_hidden_error_is_relative_and_leaves_padding_out():
    rng = np.random.default_rng(0)
    taught = [torch.from_numpy(rng.normal(size=(3, 5, 4))) for _ in range(5)]
    seen = [torch.from_numpy(rng.normal(size=(3, 5, 4))) for _ in range(3)]
    valid = torch.from_numpy(rng.random((3, 5)) < 0.6)

    error = HiddenTargets(KEPT, 4).error(seen, taught, valid)

    expected = []
    for state, wanted in ((seen[1], taught[2]), (seen[2], taught[4])):
        pairs = [(state[i, t], wanted[i, t]) for i in range(3) for t in range(5) if valid[i, t]]
        expected.append(sum(float(((a - b) ** 2).sum()) for a, b in pairs) / sum(float((b**2).sum()) for _, b in pairs))
    assert error.item() == pytest.approx(np.mean(expected))


def test_the_hidden_error_gives_the_teacher_no_gradient():
    taught = [torch.ones(1, 2, 3, requires_grad=True) for _ in range(5)]
    seen = [torch.zeros(1, 2, 3, requires_grad=True) for _ in range(3)]

    HiddenTargets(KEPT, 4).error(seen, taught, torch.ones(1, 2, dtype=torch.bool)).backward()

    assert all(state.grad is None for state in taught)
    assert all(state.grad is not None for state in seen[1:])


@pytest.mark.parametrize(
    ("matches", "kept", "depth", "boundaries"),
    [
        ("next-kept", (1, 4), 8, [4, 8]),
        ("same", (1, 4), 8, [2, 5]),
        ("uniform", (1, 4), 8, [4, 8]),
        ("uniform", (0, 1, 2), 8, [3, 5, 8]),
    ],
)
def test_which_state_teaches_which(matches, kept, depth, boundaries):
    assert HiddenTargets(kept, depth, matches).boundaries == boundaries


def made_states(rng, *shape, count=5):
    return [torch.from_numpy(rng.normal(size=shape)) for _ in range(count)]


def test_weights_count_at_the_same_sum_whatever_their_size():
    rng = np.random.default_rng(0)
    taught, seen = made_states(rng, 3, 5, 4), made_states(rng, 3, 5, 4, count=3)
    valid = torch.ones(3, 5, dtype=torch.bool)
    first, last = (HiddenTargets(KEPT, 4, weights=w).error(seen, taught, valid).item() for w in ((1, 0), (0, 1)))

    weighted = [HiddenTargets(KEPT, 4, weights=w).error(seen, taught, valid).item() for w in ((1, 3), (100, 300))]

    assert weighted == pytest.approx([first / 4 + 3 * last / 4] * 2)
    assert HiddenTargets(KEPT, 4).error(seen, taught, valid).item() == pytest.approx((first + last) / 2)


def test_relations_are_those_of_the_valid_states_of_an_example():
    rng = np.random.default_rng(0)
    taught, seen = made_states(rng, 3, 5, 4), made_states(rng, 3, 5, 6, count=3)  # the student is wider
    valid = torch.from_numpy(rng.random((3, 5)) < 0.6)
    valid[:, 0] = True

    error = HiddenTargets(KEPT, 4, weights=(1, 3)).relation_error(seen, taught, valid)

    def relation(states, t, places):
        logits = np.array([float(states[t] @ states[u]) / np.sqrt(states.shape[1]) for u in places])
        odds = np.exp(logits - logits.max())
        return odds / odds.sum()

    expected = 0.0
    for state, wanted, weight in ((seen[1], taught[2], 0.25), (seen[2], taught[4], 0.75)):
        divergences = []
        for example in range(3):
            places = [t for t in range(5) if valid[example, t]]
            for t in places:
                p, q = relation(wanted[example], t, places), relation(state[example], t, places)
                divergences.append(sum(p * np.log(p / q)))
        expected += weight * np.mean(divergences)
    assert error.item() == pytest.approx(expected)


def test_the_error_of_attention_is_that_of_the_layer_that_made_the_state():
    rng = np.random.default_rng(0)

    def looked(count):
        drawn = [torch.from_numpy(rng.dirichlet(np.ones(5), size=(3, 2, 5))) for _ in range(count)]
        return [Attention(each, torch.full((1, 1, 5), 5)) for each in drawn]

    taught, seen = looked(4), looked(2)
    valid = torch.from_numpy(rng.random((3, 5)) < 0.6)

    error = HiddenTargets(KEPT, 4).attention_error(seen, taught, valid)

    divergences = [
        np.mean([sum(p * np.log(p / q)) for p, q in zip(teacher[n, :, t], student[n, :, t], strict=True)])
        for student, teacher in (
            (seen[0].probabilities.numpy(), taught[1].probabilities.numpy()),
            (seen[1].probabilities.numpy(), taught[3].probabilities.numpy()),
        )
        for n in range(3)
        for t in range(5)
        if valid[n, t]
    ]
    assert error.item() == pytest.approx(np.mean(divergences))


def test_a_student_that_is_its_teacher_has_none_of_these_errors():
    rng = np.random.default_rng(0)
    states, valid = made_states(rng, 3, 5, 4), torch.ones(3, 5, dtype=torch.bool)
    targets = HiddenTargets(range(4), 4, "same")

    assert targets.error(states, states, valid).item() == 0
    assert targets.relation_error(states, states, valid).item() == pytest.approx(0, abs=1e-12)


# distill


SCORES = LayerScores("fisher", np.array([[4.0, 1.0, -2.0, 9.0]] * 3))


@pytest.mark.parametrize(
    ("how", "kept", "weights"),
    [
        ("uniform", (0, 1, 3), None),
        ("last", (0, 1, 3), [0, 0, 1]),
        ("scores", (0, 1, 3), [4, 1, 9]),
        ("reversed", (0, 1, 3), [4, 9, 1]),
        ("scores", (0, 2, 3), [4, 0, 9]),
        ("scores", (2,), None),
    ],
)
def test_layers_are_weighted_by_their_scores(data, tmp_path, how, kept, weights):
    job = make_job(data, tmp_path, kept=kept, report=Heard())
    job.board = ScoreBoard({"fisher": SCORES})

    assert weights == Distill(layer_weights=how, of=("fisher",))._weights(job)
    assert bool(job.report.notes) is (kept == (2,))


def test_shuffled_weights_are_the_same_numbers_in_an_order_of_the_seed(data, tmp_path):
    job = make_job(data, tmp_path, kept=(0, 1, 3))
    job.board = ScoreBoard({"fisher": SCORES})
    drawn = []
    for seed in range(20):
        job.seed = seed
        drawn.append(tuple(Distill(layer_weights="shuffled", of=("fisher",))._weights(job)))

    assert {tuple(sorted(each)) for each in drawn} == {(1, 4, 9)}
    assert len(set(drawn)) > 3


@pytest.mark.parametrize("of", [(), ("fisher", "cka")])
def test_weights_by_scores_are_those_of_one_scorer(data, tmp_path, of):
    with pytest.raises(LwaError, match="takes the scores of one scorer"):
        Distill(layer_weights="shuffled", of=of).compress(make_job(data, tmp_path))


@pytest.mark.parametrize("compare", ["relations", "attention"])
def test_what_is_compared_comes_nearer(data, tmp_path, compare):
    """With next to nothing else in the loss."""
    job = make_job(data, tmp_path)
    step = Distill(compare=compare, hidden=1000.0, epochs=4, batch=8, learning_rate=3e-3, patience=4)
    batch = job.subject.training_batch(job.windows)
    real = batch["attention_mask"].bool()

    def left(model):
        with torch.no_grad(), step._watched(job.teacher) as taught:
            job.subject.encode(job.teacher.model, batch)
        with torch.no_grad(), step._watched(LayeredModel(model)) as seen:
            job.subject.encode(model.eval(), batch)
        targets = HiddenTargets(KEPT, 4)
        error = targets.relation_error if compare == "relations" else targets.attention_error
        return float(error(list(seen), list(taught), real))

    before = left(job.teacher.keep(KEPT).model)

    assert left(step.compress(job)) < 0.8 * before


def test_distill_changes_the_student_and_nothing_else(data, tmp_path):
    job = make_job(data, tmp_path)
    teacher, start = weights(job.teacher.model), weights(job.teacher.keep(KEPT).model)

    distilled = Distill(epochs=1, batch=8).compress(job)

    assert same(teacher, weights(job.teacher.model))
    assert all(parameter.grad is None for parameter in job.teacher.model.parameters())
    assert not any(module.training for module in [*job.teacher.model.modules(), *distilled.modules()])
    assert all(torch.count_nonzero(value - start[name]) for name, value in weights(distilled).items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in distilled.modules())
    assert len(job.trained.history) == 1


def test_distillation_brings_the_student_closer_to_its_teacher(data, tmp_path):
    job = make_job(data, tmp_path)
    sequences = data.training_sequences()

    def distance(model):
        own, taught = (
            score_histories(job.subject, m.eval(), sequences).log_softmax(-1) for m in (model, job.teacher.model)
        )
        return torch.nn.functional.kl_div(own, taught, reduction="batchmean", log_target=True).item()

    before = distance(Drop().compress(job))
    after = distance(Distill(soft=1.0, temperature=1.0, epochs=5, batch=8, learning_rate=3e-3).compress(job))

    assert after < 0.7 * before


def test_distill_goes_on_with_what_the_step_before_left(data, tmp_path):
    job = make_job(data, tmp_path)
    job.student = LayeredModel(Drop().compress(job))
    with torch.no_grad():
        job.student.model.norm.bias.add_(1.0)
    start = weights(job.student.model)

    distilled = Distill(epochs=1, learning_rate=1e-9).compress(job)

    assert all(torch.allclose(value, start[name], atol=1e-6) for name, value in weights(distilled).items())


# qlora


@pytest.fixture(scope="module")
def trained_qlora(data, tmp_path_factory):
    job = make_job(data, tmp_path_factory.mktemp("qlora"), width=64, layers=3)
    return job, QLoRA(rank=2, epochs=2, batch=16, learning_rate=1e-2).compress(job)


def test_qlora_without_a_step_before_it_cuts_and_quantises(trained_qlora):
    job, model = trained_qlora

    linears = [module for module in LayeredModel(model).layers.modules() if isinstance(module, Linear4bit)]
    assert LayeredModel(model).depth == len(KEPT)
    assert len(linears) == 6 * len(KEPT)
    assert job.report.warnings == []


def test_qlora_trains_the_adapters_and_nothing_else(trained_qlora, data, tmp_path):
    _, model = trained_qlora
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    untrained = QLoRA(rank=2, epochs=0).compress(make_job(data, tmp_path, width=64, layers=3))

    assert trainable == {name for name, _ in model.named_parameters() if "lora_" in name}
    assert all(parameter.grad is None for name, parameter in model.named_parameters() if name not in trainable)
    before, after = weights(untrained), weights(model)
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == trainable


def test_qlora_that_is_not_trained_answers_as_the_quantised_student(data, tmp_path):
    """Fresh adapters are zero maps, and their training is left out."""
    job = make_job(data, tmp_path, width=64)
    quantised, _, _ = quantise_nf4(job.teacher.keep(KEPT))

    assert torch.equal(scores(job, QLoRA(epochs=0).compress(job)), scores(job, quantised))


def test_a_trained_adapter_comes_back_with_the_same_scores(trained_qlora, tmp_path):
    job, model = trained_qlora
    expected = scores(job, model)

    save_model(model, tmp_path)

    assert torch.equal(expected, scores(job, job.subject.load(tmp_path)))
    assert not (tmp_path / "adapter" / "README.md").exists()


def test_qlora_leaves_the_teacher_alone(data, tmp_path):
    job = make_job(data, tmp_path, width=64)
    teacher = weights(job.teacher.model)

    QLoRA(epochs=1, batch=16).compress(job)

    assert same(teacher, weights(job.teacher.model))
    assert all(parameter.requires_grad for parameter in job.teacher.model.parameters())


def test_qlora_warns_of_every_layer_that_stays_in_full_precision(data, tmp_path, monkeypatch):
    job = make_job(data, tmp_path, width=16)
    monkeypatch.setattr(bnb, "dequantize_4bit", four_bit.faulty)

    model = QLoRA(epochs=0).compress(job)

    codes, messages = zip(*job.report.warnings, strict=True)
    assert set(codes) == {"unsafe-4-bit"}
    assert len(messages) == 5 * len(KEPT)  # the sixth linear map of a layer has 64 inputs, which is safe
    assert messages[0].startswith("blocks.0.attention.q_proj stays in full precision")
    assert isinstance(LayeredModel(model).layers[0].down_proj.base_layer, Linear4bit)


@pytest.mark.parametrize(
    ("step", "message"),
    [(QLoRA(epochs=1), "4-bit weights or an adapter already"), (Distill(epochs=1), "can be trained any more")],
)
def test_a_step_that_cannot_follow_qlora_says_so(trained_qlora, data, tmp_path, step, message):
    job, model = trained_qlora
    save_model(model, tmp_path / "model")
    later = make_job(data, tmp_path, width=64, layers=3)
    later.student = LayeredModel(job.subject.load(tmp_path / "model"))

    with pytest.raises(ModelError, match=message) as caught:
        step.compress(later)

    assert "qlora" in caught.value.hint
