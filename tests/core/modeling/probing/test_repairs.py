"""Sets of layers judged with their gaps closed, against models that are really cut and mapped."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_texts import save_text_model, some_texts

from lwa_core import LayeredModel, ModelError
from lwa_core.modeling.layers.gap_maps import FORMS
from lwa_core.modeling.layers.state_maps import put_map
from lwa_core.modeling.probing import probe as probing
from lwa_core.testing import tiny_probe, tiny_recommender
from lwa_core.testing.tiny import Probe
from lwa_core.text.loading import load_text_model


def repaired_probe(form, examples=40, **settings):
    probe = tiny_probe(tiny_recommender(**settings), examples=examples)
    probe.repair = form
    return probe


def really_cut(probe, kept):
    """The losses of a model that lacks the other layers and has maps in their place (examples,)."""
    student = probe.model.keep(kept)
    behind = [*kept, probe.depth]
    before = [0, *(layer + 1 for layer in kept)]
    for boundary, gap in enumerate(zip(before, behind, strict=True)):
        if gap in probe.repairs:
            put_map(student, boundary, probe.repairs[gap])
    losses = []
    for batch in probe.batches():
        with torch.no_grad():
            logits = probe.subject.head(student.model, probe.subject.encode(student.model, batch)[0])
        losses.append(F.cross_entropy(logits, batch["targets"], reduction="none"))
    return torch.cat(losses).double().numpy()[np.argsort(probe.order)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("block", ["pre-norm", "gated"])
def test_sets_are_judged_as_the_models_that_are_cut_and_mapped(form, block):
    probe = repaired_probe(form, block=block)
    sets = [kept for kept in probe.subsets() if kept]

    table = probe.evaluate(sets)

    for kept, own in zip(sets, table, strict=True):
        np.testing.assert_allclose(-own, really_cut(probe, kept), rtol=1e-4, atol=1e-4)


def test_maps_are_least_squares_from_the_full_models_states(monkeypatch):
    monkeypatch.setattr("lwa_core.modeling.layers.gap_maps.RIDGES", (1e-12,))
    probe = repaired_probe("least-squares")
    states = [[] for _ in range(probe.depth + 1)]
    for batch in probe.batches():
        with torch.no_grad(), probe.model.observe() as seen:
            probe.logits(batch)
        for own, state in zip(states, seen, strict=True):
            own.append(state[batch["attention_mask"].bool()].double())
    states = [torch.cat(own).numpy() for own in states]

    for (before, behind), found in probe.repairs.items():
        design = np.column_stack([states[before], np.ones(len(states[before]))])
        solved = np.linalg.lstsq(design, states[behind], rcond=None)[0]
        np.testing.assert_allclose(found.weight.numpy().T, solved[:-1], rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(found.bias.numpy(), solved[-1], rtol=1e-3, atol=1e-3)


def test_the_full_model_has_no_gap_and_a_repair_brings_answers_nearer_to_it():
    plain, probe = tiny_probe(examples=60), repaired_probe("least-squares", examples=60)
    full, sets = tuple(range(probe.depth)), [(0, 1, 3), (0, 2), (1, 2, 3), ()]

    assert np.array_equal(plain.evaluate([full]), probe.evaluate([full]))
    as_cut, repaired = (each.evaluate(sets, "kl").mean(axis=1) for each in (plain, probe))
    assert (repaired > as_cut).all()


def test_part_of_the_examples_is_judged_with_the_same_maps():
    probe = repaired_probe("diagonal")
    rows = [3, 8, 20]

    np.testing.assert_allclose(
        probe.part(rows).evaluate([(0, 2)]), probe.evaluate([(0, 2)])[:, rows], rtol=1e-5, atol=1e-6
    )


def test_the_pass_that_fits_them_is_counted():
    plain, probe = tiny_probe(), repaired_probe("scalar")
    for each in (plain, probe):
        each.evaluate([(0, 2)])

    assert probe.cost == plain.cost + 1


def test_layers_that_hand_on_more_than_states_are_not_judged_so(monkeypatch):
    monkeypatch.setattr(probing, "replays", lambda _: False)

    with pytest.raises(ModelError, match="hand on more than their states") as caught:
        repaired_probe("scalar").evaluate([(0, 1)])

    assert 'repair = "none"' in caught.value.hint


@pytest.mark.parametrize("name", ["llama", "bert"])
def test_models_of_texts_are_judged_so_too(name, tmp_path):
    asked = load_text_model(save_text_model(name, tmp_path))
    ids = [np.array(asked.tokenizer(text)["input_ids"], dtype=np.int32) for text in some_texts(20)]
    targets = np.random.default_rng(0).integers(0, 45, len(ids))
    probe = Probe(LayeredModel(asked.model), asked, ids, targets, batch=5, repair="least-squares")

    (own,) = probe.evaluate([(0, 3)])

    np.testing.assert_allclose(-own, really_cut(probe, (0, 3)), rtol=1e-4, atol=1e-4)
