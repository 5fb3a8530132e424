"""Figures of texts where answers tie or are not finite: what chance has, and an error."""

import copy
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch
from tiny_texts import WORDS, save_text_model

from lwa_core import ModelError
from lwa_core.text.loading import load_text_model
from lwa_core.text.parts import TextData
from lwa_core.text.quality import Measuring, ranks_in
from lwa_core.text.reading import Text

FILE = Path("texts.jsonl")


@pytest.fixture(scope="module")
def measuring(tmp_path_factory):
    """A classifier and what measures it on thirty texts of three classes, ten of each."""
    folder = tmp_path_factory.mktemp("classifier")
    save_text_model("bert-classifier", folder)
    asked = load_text_model(folder)
    classes = list(asked.classes.values())
    texts = [Text(" ".join(WORDS[n : n + 4]), classes[n % len(classes)], n + 1) for n in range(30)]
    return Measuring(asked, TextData({"test": texts}, (), (), FILE), 32, 8, 0, None), texts, len(classes)


def with_head(measuring, change):
    """The same with another last linear map."""
    asked = attrs.evolve(measuring.asked, model=copy.deepcopy(measuring.asked.model))
    with torch.no_grad():
        change(asked.model.get_submodule(asked.output))
    return attrs.evolve(measuring, asked=asked)


def test_a_classifier_that_answers_the_same_of_all_classes_has_the_accuracy_of_chance(measuring):
    whole, texts, classes = measuring

    def flat(head):
        head.weight.zero_()
        head.bias.zero_()

    found = with_head(whole, flat).of(texts)

    assert np.full(30, 1 / classes) == pytest.approx(found["correct"])
    assert np.full(30, np.log(classes)) == pytest.approx(found["nll"])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_answers_that_are_not_finite_are_an_error_that_counts_them(measuring, bad):
    whole, texts, _ = measuring

    with pytest.raises(ModelError, match="the model gave NaN for 30 of 30 figures of texts"):
        with_head(whole, lambda head: head.bias.fill_(bad)).of(texts)


def test_ranks_in_an_index_are_those_of_counting():
    rng = np.random.default_rng(0)
    scores, targets = torch.from_numpy(rng.integers(0, 4, (20, 9)).astype(np.float32)), rng.integers(0, 9, 20)

    found = ranks_in(scores, torch.from_numpy(targets))

    own = scores.numpy()[np.arange(20), targets][:, None]
    assert (scores.numpy() >= own).sum(axis=1).tolist() == found["ranks"].tolist()
    assert ((scores.numpy() == own).sum(axis=1) - 1).tolist() == found["tied"].tolist()


def test_a_cosine_of_nan_is_an_error():
    scores = torch.zeros(3, 4)
    scores[1, 2] = torch.nan

    with pytest.raises(ModelError, match="NaN for 1 of 12 figures"):
        ranks_in(scores, torch.zeros(3, dtype=torch.long))
