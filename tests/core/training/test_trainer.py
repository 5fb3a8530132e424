"""The loop stops early, keeps the best weights, and goes on after any interruption to the same weights."""

import shutil

import numpy as np
import pytest
import torch
from heard import Heard
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from lwa_core import Catalogue, ModelError
from lwa_core.testing import tiny_recommender
from lwa_core.training.trainer import METRIC, LengthBatches, train
from lwa_core.types import Quiet, TrainingSettings

RNG = np.random.default_rng(0)
WINDOWS = [RNG.integers(0, 30, RNG.integers(2, 13)).astype(np.int32) for _ in range(40)]
CURVE = [0.1, 0.3, 0.2, 0.4, 0.1, 0.1, 0.1, 0.1]


class Notes(Heard):
    def warn(self, code, message):
        pytest.fail(f"{code}: {message}")


class PowerCutError(Exception):
    pass


def fit(folder, *, steps=None, epochs=4, patience=10, curve=None, notes=None, scale=1.0, stop=None, **settings):
    """Train a tiny model with dropout; after `steps` batches the power is cut."""
    recommender = tiny_recommender(layers=2, dropout=0.3, **settings)
    torch.manual_seed(0)
    model = recommender.build(Catalogue(ids=tuple(map(str, range(30)))), Quiet())
    done, evaluated = 0, iter(curve or ())

    def loss(model, batch):
        nonlocal done
        if steps is not None and done == steps:
            raise PowerCutError
        done += 1
        return scale * recommender.loss(model, batch).overall

    def evaluate(model):
        if curve is not None:
            return next(evaluated)
        return -float(sum(p.double().abs().sum() for p in model.parameters()))

    trained = train(
        model,
        loss,
        windows=WINDOWS,
        collate=recommender.training_batch,
        evaluate=evaluate,
        settings=TrainingSettings(epochs=epochs, batch=8, learning_rate=1e-2, patience=patience),
        folder=folder,
        seed=0,
        report=notes or Notes(),
        stop_after=stop,
    )
    return model.state_dict(), trained


def assert_same(first, second):
    (weights, trained), (others, other_trained) = first, second
    assert trained == other_trained
    assert all(torch.equal(weights[name], others[name]) for name in weights)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return fit(tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize("steps", [3, 10, 19])
def test_goes_on_after_a_power_cut_to_the_same_weights(undisturbed, tmp_path, steps):
    with pytest.raises(PowerCutError):
        fit(tmp_path, steps=steps)

    assert_same(fit(tmp_path), undisturbed)


@pytest.mark.parametrize("loss", ["sampled", "gbce"])
def test_what_is_sampled_after_a_power_cut_is_what_would_have_been(tmp_path, loss):
    settings = {"training_loss": loss, "negatives": 4}
    with pytest.raises(PowerCutError):
        fit(tmp_path / "cut", steps=13, **settings)

    assert_same(fit(tmp_path / "cut", **settings), fit(tmp_path / "whole", **settings))


def test_training_that_was_finished_is_not_repeated(undisturbed, tmp_path):
    fit(tmp_path)

    assert_same(fit(tmp_path, steps=0), undisturbed)


HARMED = [
    ("model.safetensors", "flipped"),
    ("optimizer.pt", "missing"),
    ("optimizer.pt", "truncated"),
    ("scheduler.pt", "missing"),
    ("rng_state.pth", "missing"),
    ("trainer_state.json", "truncated"),
    ("manifest.json", "missing"),
]
"""What transformers' own resume crashes on, or goes on from without a word and ends elsewhere."""


@pytest.mark.parametrize(("name", "harm"), HARMED)
def test_a_damaged_newest_checkpoint_is_passed_over(undisturbed, tmp_path, name, harm):
    with pytest.raises(PowerCutError):
        fit(tmp_path, steps=13)
    newest = max(tmp_path.glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1])) / name
    content = newest.read_bytes()
    if harm == "missing":
        newest.unlink()
    else:
        newest.write_bytes(
            content[: len(content) // 2] if harm == "truncated" else bytes([content[0] ^ 1]) + content[1:]
        )
    notes = Notes()

    resumed = fit(tmp_path, notes=notes)

    assert_same(resumed, undisturbed)
    assert "is passed over" in notes.notes[0]


def test_stops_when_patience_is_over_and_keeps_the_best_weights(tmp_path):
    weights, trained = fit(tmp_path, epochs=8, patience=3, curve=CURVE)
    best = load_file(tmp_path / "checkpoint-20" / "model.safetensors")

    assert [entry[METRIC] for entry in trained.history] == CURVE[:7]
    assert trained.best_epoch == 4
    assert all(torch.equal(best[name], weights[name]) for name in weights)


def test_only_the_checkpoints_that_are_needed_stay(tmp_path):
    fit(tmp_path, epochs=8, curve=CURVE)

    assert sorted(int(p.name.split("-")[1]) for p in tmp_path.glob("checkpoint-*")) == [20, 35, 40]


def test_a_loss_that_is_no_longer_finite_is_an_error(tmp_path):
    with pytest.raises(ModelError, match="no longer finite"):
        fit(tmp_path, scale=float("inf"))


def test_no_epochs_train_nothing(tmp_path):
    _, trained = fit(tmp_path, epochs=0)

    assert (trained.history, trained.best_epoch) == ([], 0)
    shutil.rmtree(tmp_path)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=300), st.integers(1, 40), st.integers(0, 5))
def test_batches_hold_every_example_once_in_an_order_of_seed_and_epoch(lengths, size, epoch):
    def batches(seed=7):
        sampler = LengthBatches(lengths, size, seed)
        sampler.epoch = epoch
        return list(sampler)

    assert sorted(i for batch in batches() for i in batch) == list(range(len(lengths)))
    assert len(batches()) == len(LengthBatches(lengths, size, 7))
    assert batches() == batches()
    assert max(map(len, batches())) <= size


def test_batches_hold_similar_lengths():
    lengths = RNG.integers(1, 200, 3200)
    spread = [np.ptp(lengths[batch]) for batch in LengthBatches(lengths, 32, 0)]

    assert np.mean(spread) < 0.1 * np.ptp(lengths)


@pytest.mark.parametrize("end", [1, 2, 4])
def test_a_chosen_epoch_leaves_what_that_epoch_left_when_it_was_chosen(tmp_path, end):
    """The rate falls as it did then, and nobody is asked for a quality."""
    best_at_end = [float(epoch == end) for epoch in range(1, 5)]

    chosen, found = fit(tmp_path / "chosen", curve=best_at_end)
    again, told = fit(tmp_path / "again", curve=(), stop=end)

    assert end == found.best_epoch == told.best_epoch
    assert all(torch.equal(chosen[name], again[name]) for name in chosen)
    assert [{"epoch", "loss"}] * end == [set(entry) for entry in told.history]
    assert [entry["loss"] for entry in found.history[:end]] == [entry["loss"] for entry in told.history]


def test_a_training_with_a_chosen_end_goes_on_after_a_power_cut(tmp_path):
    whole = fit(tmp_path / "whole", curve=(), stop=3)
    with pytest.raises(PowerCutError):
        fit(tmp_path / "cut", curve=(), stop=3, steps=7)

    assert_same(whole, fit(tmp_path / "cut", curve=(), stop=3))
