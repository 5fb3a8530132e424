"""Whatever a plugin changes of what it was lent is named, and nothing of it is kept."""

import copy
import os
import random

import attrs
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from lwa_core import PluginError
from lwa_core.modeling.probing.subset_answers import SubsetAnswers
from lwa_core.pipeline.scoring import Calls, Observer, lent_board, lent_probe, observed_by, shown_tensors
from lwa_core.plugins.lending.guard import Shown, own_process_state
from lwa_core.plugins.lending.models import COPIED, Contents, ModelWatch
from lwa_core.plugins.lending.process import ProcessState
from lwa_core.testing import tiny_board, tiny_probe

WHO = "scorer 'x' of plugin p of dist 1.2"


@pytest.fixture
def probe():
    return tiny_probe()


def weight(probe):
    return next(probe.model.layers.parameters())


def no_grad(change):
    def inside(probe):
        with torch.no_grad():
            change(probe)

    return inside


def left_gradients(probe):
    batch = next(probe.batches())
    nn.functional.cross_entropy(probe.logits(batch), batch["targets"]).backward()


def swap(layers):
    layers[0], layers[1] = layers[1], layers[0]


CHANGES = {
    "a weight in place": (no_grad(lambda p: weight(p).mul_(0.5)), "the values of the weight"),
    "a weight through data": (lambda p: weight(p).data.add_(1e-3), "the values of the weight"),
    "a weight through numpy": (lambda p: weight(p).detach().numpy().__iadd__(1e-3), "the values of the weight"),
    "one number of a weight": (no_grad(lambda p: weight(p).view(-1)[0].add_(1.0)), "the values of the weight"),
    "another weight in its place": (
        lambda p: setattr(p.model.layers[0].attention_norm, "weight", nn.Parameter(torch.ones(16))),
        "the weight `blocks.0.attention_norm.weight`, which is another one",
    ),
    "other data of a weight": (lambda p: setattr(weight(p), "data", weight(p).data * 2), "the values of the weight"),
    "the type of a weight": (lambda p: p.model.model.double(), "dtype of the weight"),
    "a replaced layer": (
        lambda p: p.model.layers.__setitem__(0, copy.deepcopy(p.model.layers[1])),
        "the module `blocks.0`, which is another one",
    ),
    "the order of layers": (
        lambda p: swap(p.model.layers),
        "the module `blocks.0`, which is another one",
    ),
    "a layer less": (lambda p: p.model.layers.__delitem__(3), "the module `blocks.3`, which is gone"),
    "a new module": (lambda p: p.model.layers[0].add_module("more", nn.Linear(1, 1)), "`blocks.0.more`, which is new"),
    "train mode": (lambda p: p.model.model.train(), r"the mode \(train\)"),
    "train mode of one layer": (lambda p: p.model.layers[2].train(), r"the mode \(train\) of `blocks.2`"),
    "a forward hook": (lambda p: p.model.layers[1].register_forward_hook(print), "the hooks of `blocks.1`"),
    "a backward hook": (
        lambda p: p.model.layers[1].register_full_backward_hook(lambda *_: None),
        "the hooks of `blocks.1`",
    ),
    "a hook of a weight": (lambda p: weight(p).register_hook(print), "the hooks of the weight"),
    "requires_grad": (lambda p: weight(p).requires_grad_(False), "requires_grad of the weight"),
    "gradients": (left_gradients, "the gradient of the weight"),
    "forward": (lambda p: setattr(p.model.layers[0], "forward", print), "`forward` of `blocks.0`"),
    "a plain attribute": (
        lambda p: setattr(p.model.layers[0].attention_norm, "eps", 0.1),
        "`eps` of `blocks.0.attention_norm`",
    ),
    "the configuration": (lambda p: setattr(p.model.model.config, "layers", 9), "`config.layers`"),
    "a history": (lambda p: p.histories[3].__setitem__(0, 7), "the values of `probe.histories`"),
    "a history in the place of another": (lambda p: p.histories.reverse(), "the values of `probe.histories`"),
    "a history less": (lambda p: p.histories.pop(), "the values of `probe.histories`"),
    "the recommender": (lambda p: object.__setattr__(p.subject, "max_length", 1), "`max_length` of `probe.subject`"),
    "another model": (lambda p: setattr(p.model, "model", copy.deepcopy(p.model.model)), "`model` of `probe.model`"),
    "a target": (lambda p: p.targets.__setitem__(0, p.targets[0] ^ 1), "the values of `probe.targets`"),
    "the order of examples": (lambda p: p.order.sort(), "the values of `probe.order`"),
    "the micro-batch": (lambda p: setattr(p, "batch", 1), "`batch` of the probe"),
    "the utility": (lambda p: setattr(p, "utility", "kl"), "`utility` of the probe"),
    "grad mode": (lambda p: torch.set_grad_enabled(False), "the grad mode of the process"),
    "default dtype": (lambda p: torch.set_default_dtype(torch.float64), "the default dtype of the process"),
    "default device": (lambda p: torch.set_default_device("meta"), "the default device of the process"),
    "threads": (lambda p: torch.set_num_threads(torch.get_num_threads() + 1), "the number of threads of the process"),
    "deterministic algorithms": (
        lambda p: torch.use_deterministic_algorithms(True, warn_only=True),
        "the deterministic algorithms of the process",
    ),
    "autocast": (lambda p: torch.autocast("cpu", torch.bfloat16).__enter__(), "the autocast of the process"),
    "anomaly detection": (lambda p: torch.autograd.set_detect_anomaly(True), "the anomaly detection of the process"),
    "hooks of all modules": (lambda p: register_module_forward_hook(lambda *_: None), "the hooks of all modules"),
    "attention kernels": (lambda p: torch.backends.cuda.enable_math_sdp(False), "the attention kernels"),
    "the working folder": (lambda p: os.chdir("/"), "the working folder of the process"),
    "numpy's errors": (lambda p: np.seterr(all="raise"), "the error handling of numpy"),
}


@pytest.mark.parametrize(("change", "said"), CHANGES.values(), ids=CHANGES)
def test_a_change_is_an_error_that_names_who_and_what_and_the_process_is_as_before(probe, change, said):
    before = ProcessState.now()

    with pytest.raises(PluginError, match=said) as caught, lent_probe(WHO, probe):
        change(probe)

    assert caught.value.message.startswith(f"{WHO} changed ")
    assert [] == before.changes()


def test_asking_is_no_change(probe):
    from lwa_core.modeling.probing.observation import OBSERVABLES

    scorer = Looks(lambda seen: seen.losses[:, None])
    with lent_probe(WHO, probe) as loan:
        probe.evaluate([(0,), (1, 2)], "kl")
        probe.gate_gradients()
        with probe.holding(), torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            probe.logits(next(probe.batches()))
        observed_by([Observer(WHO, attrs.evolve(scorer, observes=OBSERVABLES))], probe, loan)


def test_what_fails_is_said_as_it_is_and_the_process_is_put_back(probe):
    before = ProcessState.now()

    def fail():
        torch.set_grad_enabled(False)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), lent_probe(WHO, probe):
        fail()

    assert [] == before.changes()


# Answers


@pytest.mark.parametrize(
    "change", ["a weight in place", "a forward hook", "autocast", "default dtype", "a replaced layer"]
)
def test_answers_of_a_changed_model_are_neither_kept_nor_remembered(change):
    kept, answers = [], SubsetAnswers()
    answers.keep = kept.append
    probe = tiny_probe()
    probe._answers = answers

    def spoil_and_ask():
        CHANGES[change][0](probe)
        probe.evaluate([(0,), (0, 1)])

    with pytest.raises(PluginError, match="and asked about layers"), lent_probe(WHO, probe):
        spoil_and_ask()

    assert ([], {}, {}) == (kept, answers.losses, answers.ranks)


def test_a_change_that_is_taken_back_leaves_no_answers_of_in_between(probe):
    def spoil_ask_and_mend():
        before = weight(probe).data.clone()
        weight(probe).data.zero_()
        try:
            probe.evaluate([(0,)])
        finally:
            weight(probe).data.copy_(before)

    with pytest.raises(PluginError, match="and asked about layers"), lent_probe(WHO, probe):
        spoil_ask_and_mend()

    assert {} == probe.remembered.losses
    probe.evaluate([(0,)])  # and afterwards the core asks as ever
    assert [(0,)] == list(probe.remembered.losses)


# What observers are shown


@attrs.frozen
class Looks:
    look: object
    observes: frozenset = frozenset({"states", "target_vectors", "attention", "gate_gradients"})

    def observe(self, seen):
        return self.look(seen)


def table(seen):
    return seen.losses[:, None].repeat(1, len(seen.states) - 1)


def shown_and(change):
    def look(seen):
        given = table(seen)
        change(seen)
        return given

    return Looks(look)


WRITES = {
    "states": (lambda seen: seen.states[2].mul_(0), r"`seen.states\[2\]`"),
    "states through data": (lambda seen: seen.states[0].data.mul_(0), r"`seen.states\[0\]`"),
    "states through numpy": (lambda seen: seen.states[1].numpy().fill(1), r"`seen.states\[1\]`"),
    "targets": (lambda seen: seen.targets.add_(1), "`seen.targets`"),
    "mask": (lambda seen: seen.mask.fill_(True), "`seen.mask`"),
    "gate gradients": (lambda seen: seen.gate_gradients.neg_(), "`seen.gate_gradients`"),
    "attention": (lambda seen: seen.attention[0].probabilities.mul_(2), r"`seen.attention\[0\].probabilities`"),
}


@pytest.mark.parametrize(("write", "said"), WRITES.values(), ids=WRITES)
def test_who_writes_to_what_all_are_shown_is_named_among_several(probe, write, said):
    scorers = [Observer("ours", Looks(table), True), Observer(WHO, shown_and(write)), Observer("c", Looks(table))]

    with pytest.raises(PluginError, match=f"changed .*{said}") as caught, lent_probe("one of these", probe) as loan:
        observed_by(scorers, probe, loan)

    assert caught.value.message.startswith(WHO)


@pytest.mark.parametrize(
    "change", ["a weight in place", "a weight through data", "grad mode", "train mode", "gradients"]
)
def test_who_changes_the_model_while_looking_is_named_among_several(probe, change):
    scorers = [
        Observer("ours", Looks(table), True),
        Observer(WHO, shown_and(lambda seen: CHANGES[change][0](probe))),
        Observer("c", Looks(table)),
    ]

    with pytest.raises(PluginError) as caught, lent_probe("one of these", probe) as loan:
        observed_by(scorers, probe, loan)

    assert caught.value.message.startswith(f"{WHO} changed ")


def test_a_write_that_nobody_counts_in_a_later_micro_batch_is_found_at_the_end(probe):
    calls = []

    def late(seen):
        calls.append(seen)
        if len(calls) == 2:
            weight(probe).data.add_(1)

    with pytest.raises(PluginError, match="one of these changed"), lent_probe("one of these", probe) as loan:
        observed_by([Observer(WHO, shown_and(late)), Observer("c", Looks(table))], probe, loan)


def test_what_our_own_scorers_write_is_found_after_all_of_their_calls(probe):
    scorers = [Observer(WHO, shown_and(WRITES["states through data"][0]), True), Observer("ours", Looks(table), True)]

    with pytest.raises(PluginError, match=f"{WHO}, ours changed"), lent_probe("one of these", probe) as loan:
        observed_by(scorers, probe, loan)


def test_every_tensor_of_an_observation_is_watched(probe):
    seen = []
    with lent_probe(WHO, probe) as loan:
        observed_by([Observer(WHO, Looks(lambda each: seen.append(each) or table(each)))], probe, loan)

    names = shown_tensors(seen[0])

    assert {"seen.mask", "seen.targets", "seen.losses", "seen.target_vectors", "seen.gate_gradients"} <= names.keys()
    assert {f"seen.states[{place}]" for place in range(probe.depth + 1)} <= names.keys()
    assert {f"seen.attention[{place}].probabilities" for place in range(probe.depth)} <= names.keys()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "gave NoneType from `observe`"),
        (torch.tensor(1.0), "gave a single number"),
        (torch.ones(3, 4), "gave 3 rows for 7 examples"),
    ],
)
def test_what_an_observer_gives_is_looked_at_where_it_comes_back(probe, given, said):
    with pytest.raises(PluginError, match=said), lent_probe(WHO, probe) as loan:
        observed_by([Observer(WHO, Looks(lambda seen: given))], probe, loan)


# Random generators


def drawn():
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_global_generators_are_seeded_inside_and_go_on_outside_as_if_nobody_had_drawn():
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    expected = [drawn(), drawn()]
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    first = drawn()
    with own_process_state(WHO, seed=5):
        one = drawn()
    with own_process_state(WHO, seed=5):
        two = drawn()
    with own_process_state(WHO, seed=6):
        three = drawn()

    assert expected == [first, drawn()]
    assert one == two != three


def test_what_an_observer_draws_depends_on_no_other_observer(probe):
    def draw(seen):
        return torch.rand(len(seen.mask), probe.depth).double()

    def tables(*scorers):
        with lent_probe(WHO, probe) as loan:
            return observed_by([Observer(WHO, scorer) for scorer in scorers], probe, loan)

    (alone,) = tables(Looks(draw))
    _, beside = tables(Looks(draw), Looks(draw))

    assert all(torch.equal(a, b) for a, b in zip(alone, beside, strict=True))
    assert not torch.equal(alone[0][:6], alone[1][:6])


# Combining


def test_scores_that_are_lent_to_be_combined_are_not_to_be_changed():
    board = tiny_board(("one", "two"))

    with (
        pytest.raises(PluginError, match=f"{WHO} changed the values of the scores of 'two'"),
        lent_board(WHO, board, 0),
    ):
        board["two"].samples[0, 1] += 1


# Contents


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.float64, torch.int8, torch.bool, torch.complex64]
)
@pytest.mark.parametrize("count", [1, 5, COPIED // 4 + 3, COPIED + 8 * 512 + 1])
def test_one_changed_number_anywhere_is_found(dtype, count):
    rng = np.random.default_rng(count)
    before = torch.zeros(count, dtype=dtype)
    for place in {0, count - 1, *rng.integers(0, count, 4).tolist()}:
        tensor = before.clone()
        contents = Contents([torch.ones(3), tensor, torch.ones(2)])
        assert [] == contents.changed()
        tensor[place] = 1
        assert [1] == contents.changed()


def test_numbers_that_changed_places_are_found_in_large_tensors_too():
    generator = torch.Generator().manual_seed(0)
    tensor = torch.randn(64, COPIED // 64, generator=generator)
    contents = Contents([tensor])
    for order in (tensor.flip(0), tensor.flip(1), tensor.roll(1, 0), tensor.roll(1, 1), tensor.roll(512, 1)):
        kept = tensor.clone()
        tensor.copy_(order)
        assert [0] == contents.changed()
        tensor.copy_(kept)
        assert [] == contents.changed()


def test_numbers_that_are_none_are_the_same_as_before():
    model = nn.Linear(2, 2)
    model.weight.data.fill_(float("nan"))
    watch = ModelWatch(model)

    assert [] == watch.changes()


def test_parts_of_memory_and_tensors_without_any_are_watched_as_well():
    whole = torch.zeros(10, 10)
    contents = Contents(
        [whole[:, 1], whole[3:, 2:].T, torch.empty(0), torch.empty(2, device="meta"), torch.tensor(1.0)]
    )

    assert [] == contents.changed()
    whole[5, 1] = 1
    assert [0] == contents.changed()
    whole[5, 5] = 1
    assert [0, 1] == contents.changed()


def test_the_calls_of_one_micro_batch_begin_alike(probe):
    """The seed of a call holds the number of the micro-batch and nothing of those who were called before."""
    seen = []
    with lent_probe(WHO, probe) as loan:
        observed_by([Observer(WHO, Looks(lambda each: seen.append(each) or table(each)))], probe, loan)
        weights = Shown({}, thorough=False)
        calls = Calls(loan, weights, seen[0], seed=3, number=4, thorough=False)
        draw = Observer(WHO, Looks(lambda each: torch.rand(len(each.mask), 4)))
        one, two = calls.observe(draw), calls.observe(draw)

    assert torch.equal(one, two)
