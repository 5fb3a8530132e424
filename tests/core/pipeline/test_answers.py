"""What a store knows of layer subsets: asked once, whoever asks, and never trusted where it is damaged."""

import numpy as np
import pytest
from layer_games import counted, layers_probe

from lwa_core.modeling.probing.probe import Probe
from lwa_core.modeling.probing.subset_answers import SubsetAnswers
from lwa_core.pipeline.answers import stored_answers
from lwa_core.store.results import Store
from lwa_plugins.scorers.banzhaf import Banzhaf
from lwa_plugins.scorers.leave_one_out import LeaveOneOut
from lwa_plugins.scorers.logit_lens import LogitLens
from lwa_plugins.scorers.shapley import Shapley

ABOUT = "a" * 64
UTILITIES = ("loss", "ndcg", "kl", "scaled-loss")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def probe_with(answers):
    """As another run makes it: the same model and examples, and what the store knows."""
    plain = layers_probe(4, examples=6, batch=4)
    return Probe(plain.model, plain.subject, plain.histories, plain.targets, batch=4, seed=3, answers=answers)


def families(store):
    return sorted(store.path("answers", ABOUT[:32]).parent.glob(f"{ABOUT[:32]}-*"))


@pytest.mark.parametrize("second", [LeaveOneOut(), LogitLens(), Shapley(pairs=3), Banzhaf()], ids=lambda s: str(s)[:12])
def test_another_scorer_of_another_run_asks_nothing_again(store, second):
    Shapley(method="exact").score(probe_with(stored_answers(store, ABOUT)))
    probe = probe_with(stored_answers(store, ABOUT))

    with counted(probe) as ran:
        table = second.score(probe)

    alone = probe_with(SubsetAnswers())
    assert ran == []
    assert np.array_equal(table, second.score(alone))
    assert probe.facts == alone.facts
    assert probe.cost == alone.cost  # its price is that of running it alone


@pytest.mark.parametrize("utility", UTILITIES)
def test_answers_come_back_to_the_bit(store, utility):
    keeps = [(0, 2), (), (0, 1, 2, 3)]
    told = probe_with(stored_answers(store, ABOUT)).evaluate(keeps, utility)
    again = probe_with(stored_answers(store, ABOUT))

    with counted(again) as ran:
        found = again.evaluate(keeps, utility)

    assert ran == []
    assert np.array_equal(found, told)
    assert np.array_equal(probe_with(SubsetAnswers()).evaluate(keeps, utility), told)


def test_divergences_are_asked_for_where_only_losses_are_known(store):
    probe_with(stored_answers(store, ABOUT)).evaluate([(1, 2)], "loss")
    probe = probe_with(stored_answers(store, ABOUT))

    with counted(probe) as ran:
        probe.evaluate([(1, 2)], "kl")

    assert ran != []


def test_answers_about_another_model_or_other_examples_are_not_taken(store):
    probe_with(stored_answers(store, ABOUT)).evaluate([(1, 2)])

    assert stored_answers(store, "b" * 64).losses == {}


@pytest.mark.parametrize("damage", ["changed", "cut short", "not there", "no manifest"])
def test_a_damaged_family_is_passed_over_and_asked_again(store, damage):
    told = probe_with(stored_answers(store, ABOUT)).evaluate([(0, 1)])
    probe_with(stored_answers(store, ABOUT)).evaluate([(2, 3)])
    hurt = next(folder for folder in families(store) if (0, 1) in learned(store, folder))
    file = hurt / "answers.safetensors"
    whole = file.read_bytes()
    if damage == "changed":
        file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    elif damage == "cut short":
        file.write_bytes(whole[: len(whole) // 2])
    elif damage == "not there":
        file.unlink()
    else:
        next(hurt.glob("*.json")).unlink()

    known = stored_answers(store, ABOUT)
    found = probe_with(known).evaluate([(0, 1)])

    assert np.array_equal(found, told)
    assert (2, 3) in known.losses
    assert (0, 1) in stored_answers(store, ABOUT).losses  # it was made again


def learned(store, folder):
    from safetensors.numpy import load_file

    answers = SubsetAnswers()
    answers.learn(load_file(folder / "answers.safetensors"))
    return answers.losses
