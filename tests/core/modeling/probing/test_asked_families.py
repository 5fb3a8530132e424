"""Families that share keys and values, or let padding leak, are scored as one example alone by a plain hook is."""

import math
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_texts import save_text_model, some_texts

from lwa_core import LayeredModel, Probe
from lwa_core.modeling.probing.batching import Batching
from lwa_core.text.examples import make_examples
from lwa_core.text.loading import load_text_model
from lwa_core.text.parts import TextData
from lwa_core.text.quality import Measuring
from lwa_core.text.reading import Text

FAMILIES = {
    "llama": (True, Batching.ANY),
    "gemma4": (False, Batching.ANY),
    "fnet": (True, Batching.EQUAL_LENGTHS),
    "convbert": (True, Batching.EQUAL_LENGTHS),
}
SUBSETS = [(1, 2, 3), (0, 2, 3), (0, 1, 2), (0, 2), (3,), (), (0, 1, 2, 3), (0, 1, 3)]
MASK = 4


OFTEN = ("gemma4", "fnet")
PARAMS = [name if name in OFTEN else pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES]


@pytest.fixture(scope="module", params=PARAMS)
def asked(request, tmp_path_factory):
    folder = save_text_model(request.param, tmp_path_factory.mktemp(request.param))
    model = load_text_model(folder)
    texts = [Text(text, None, line) for line, text in enumerate(some_texts(9), 1)]
    return request.param, model, texts, make_examples(model, texts, folder, length=20)


def probe_of(asked, batch):
    _, model, _, made = asked
    return Probe(LayeredModel(model.model), model, made.histories, made.targets, batch=batch)


@torch.no_grad()
def alone(asked, kept):
    """Loss of each example by the model itself, unpadded, with hooks on the blocks that are left out."""
    _, model, _, made = asked
    blocks = list(LayeredModel(model.model).layers)
    losses = []
    with ExitStack() as hooks:
        for number, block in enumerate(blocks):
            if number not in kept:
                hooks.callback(block.register_forward_hook(stays, with_kwargs=True).remove)
        for ids, target in zip(made.histories, made.targets, strict=True):
            tokens = torch.from_numpy(ids.astype("int64"))[None]
            logits = model.model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits[0]
            place = -1 if model.task == "causal" else int((tokens[0] == MASK).nonzero()[0])
            losses.append(float(F.cross_entropy(logits[place], torch.tensor(int(target)))))
    return np.array(losses)


def stays(_, args, kwargs, output):
    state = args[0] if args else kwargs["hidden_states"]
    return (state, *output[1:]) if isinstance(output, tuple) else state


@pytest.mark.parametrize("batch", [4, 1])
def test_subsets_are_answered_as_by_plain_hooks_in_any_order(asked, batch):
    expected = {kept: alone(asked, kept) for kept in SUBSETS}

    together, later = probe_of(asked, batch), probe_of(asked, batch)

    found = -together.evaluate(SUBSETS)
    for row, kept in reversed(list(enumerate(SUBSETS))):
        np.testing.assert_allclose(found[row], expected[kept], rtol=1e-4, atol=1e-5)
        assert np.array_equal(found[row], -later.evaluate([kept])[0])


def test_what_was_seen_of_the_family(asked):
    replays, batching = FAMILIES[asked[0]]
    probe = probe_of(asked, 4)

    assert (probe.replays, probe.batching) == (replays, batching)


def test_the_quality_of_texts_does_not_depend_on_the_batch(asked):
    _, model, texts, _ = asked
    data = TextData({"test": texts, "train": [], "validation": [], "calibration": []}, [], [], Path("texts.jsonl"))

    found = [Measuring(model, data, 20, batch, 0, None).of(texts) for batch in (1, 4, 64)]

    for other in found[1:]:
        np.testing.assert_allclose(other["nll"], found[0]["nll"], rtol=1e-4)
        assert math.isfinite(other["nll"].sum())
