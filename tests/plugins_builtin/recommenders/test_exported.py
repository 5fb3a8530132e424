"""What `backbone` and `text` give exporters: every family, cut students, checkpoints; against the models in torch."""

import attrs
import numpy as np
import pytest
import tiny_texts
import torch
from torch import nn
from transformers import (
    Gemma3TextConfig,
    Gemma3TextModel,
    LlamaConfig,
    LlamaModel,
    MistralConfig,
    MistralModel,
    ModernBertConfig,
    ModernBertModel,
    Qwen3Config,
    Qwen3Model,
)
from transformers.pytorch_utils import Conv1D

from lwa_core import Catalogue, LayeredModel, ModelError, export_bundle
from lwa_core.pipeline.bundles import compared
from lwa_core.recommendation.ranker import Ranker
from lwa_core.types import Quiet
from lwa_plugins.recommenders.backbone import Backbone
from lwa_plugins.recommenders.backbone.families import FAMILIES
from lwa_plugins.recommenders.text import Text

ITEMS = 40
LENGTH = 9
LENGTHS = (0, 1, 3, LENGTH - 1, LENGTH, LENGTH + 4)
"""None, some, one fewer than the most, the most, and more."""
slow = pytest.mark.slow


def ranker_of(family="llama", recommender=None, kept=None, **more):
    """One with random weights so large that every layer and every place changes the answers."""
    recommender = recommender or Backbone(family=family, **{"layers": 3, "width": 32, "max_length": LENGTH, **more})
    torch.manual_seed(0)
    titles = tuple(f"w{item % 13} w{item % 7 + 20}" for item in range(ITEMS))
    catalogue = Catalogue(ids=tuple(f"i{item:02d}" for item in range(ITEMS)), titles=titles)
    model = recommender.build(catalogue, Quiet()).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        if isinstance(model.item_embedding, nn.Embedding):
            model.item_embedding.weight[0] = 0  # padding
    if kept is not None:
        model = LayeredModel(model).keep(kept).model.eval()
    return Ranker(model, recommender, catalogue, "backbone", {})


def histories(lengths=LENGTHS):
    rng = np.random.default_rng(1)
    return [rng.integers(0, ITEMS, length).astype(np.int32) for length in lengths]


def difference(ranker, served, asked=None):
    asked = histories() if asked is None else asked
    theirs = ranker.scores(asked).double().numpy()
    return np.abs(served.scores(asked) - theirs).max() / np.abs(theirs).max()


def maps_of(model):
    """Linear maps that the network applies."""
    return [module for module in model.modules() if type(module) in (nn.Linear, Conv1D)]


@pytest.mark.parametrize("item_width", [0, 12])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_the_parts_together_score_as_the_model_does(family, item_width):
    """In torch: rows of the table, padded behind their end, and the last place."""
    ranker = ranker_of(family, item_width=item_width)
    parts = ranker.recommender.parts(ranker.model)
    asked = [history[-LENGTH + parts.mask :] for history in histories()]
    time = max(map(len, asked)) + parts.mask
    rows = parts.special[0].repeat(len(asked), time, 1)
    for row, history in zip(rows, asked, strict=True):
        row[: len(history)] = parts.table[torch.from_numpy(history).long()]
        if parts.mask:
            row[len(history)] = parts.special[-1]
    last = torch.tensor([max(0, len(history) - 1 + parts.mask) for history in asked])

    states = parts.network(rows, last)

    assert (FAMILIES[family].bidirectional, LENGTH) == (parts.mask, parts.history)
    torch.testing.assert_close(states @ parts.table.T, ranker.scores(histories()), rtol=1e-5, atol=1e-5)


def test_a_model_in_another_form_offers_no_parts():
    with pytest.raises(ModelError, match="a Linear is no plain model"):
        Backbone().parts(nn.Linear(2, 2))


# Graphs: writing one takes seconds, so that of one family alone is always written


@pytest.fixture(autouse=True)
def graphs(request):
    if "tmp_path" in request.fixturenames:
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")


@pytest.mark.parametrize("family", [f if f == "bert" else pytest.param(f, marks=slow) for f in FAMILIES])
def test_a_bundle_of_a_cut_student_answers_as_it_does(family, tmp_path):
    ranker = ranker_of(family, kept=[0, 2], item_width=12)

    served = export_bundle(ranker, tmp_path / "bundle")

    assert difference(ranker, served) < 1e-5
    together = served.scores(histories())
    for history, scores in zip(histories(), together, strict=True):  # padding is seen by nobody
        np.testing.assert_allclose(served.scores([history])[0], scores, rtol=1e-5, atol=1e-5)


@slow
@pytest.mark.parametrize("kept", [[0, 2]])
@pytest.mark.parametrize("family", FAMILIES)
def test_in_8_bits_every_product_is_quantised_and_the_ranking_stays(family, kept, tmp_path):
    ranker = ranker_of(family, kept=kept, item_width=12)

    served = export_bundle(ranker, tmp_path / "bundle", weights="int8", table="int8")

    assert len(maps_of(ranker.model)) == served.described.quantised
    assert compared(ranker, served).top > 0.85


@slow
@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])  # a map of each kind
def test_in_4_bits_every_product_is_quantised(family, tmp_path):
    ranker = ranker_of(family, kept=[0, 2], item_width=12)

    served = export_bundle(ranker, tmp_path / "bundle", weights="int4")

    assert len(maps_of(ranker.model)) == served.described.quantised
    assert compared(ranker, served).top > 0.6


@slow
@pytest.mark.parametrize("family", ["gpt2", "modernbert"])
def test_the_shortest_input_that_a_model_can_have(family, tmp_path):
    ranker = ranker_of(family, layers=1, max_length=2)

    assert difference(ranker, export_bundle(ranker, tmp_path / "bundle")) < 1e-5


# Checkpoints: of these, some layers look through a window that is shorter than the history

SHAPE = {"vocab_size": 40, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
SHAPE |= {"max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
GROUPED = {"num_key_value_heads": 2, "head_dim": 8}
MIXED = ["sliding_attention", "full_attention", "sliding_attention"]
OF_BERT = {"cls_token_id": 1, "sep_token_id": 2, "local_attention": 4, "global_attn_every_n_layers": 3}
CHECKPOINTS = {
    "mistral": lambda: MistralModel(MistralConfig(**SHAPE, **GROUPED, sliding_window=3)),
    "qwen3": lambda: Qwen3Model(
        Qwen3Config(**SHAPE, **GROUPED, sliding_window=3, use_sliding_window=True, layer_types=MIXED)
    ),
    "gemma3_text": lambda: Gemma3TextModel(
        Gemma3TextConfig(**SHAPE, **GROUPED, sliding_window=3, layer_types=MIXED, query_pre_attn_scalar=8)
    ),
    "modernbert": lambda: ModernBertModel(ModernBertConfig(**SHAPE, **OF_BERT)),
}


def of_checkpoint(family, model, folder, **more):
    model.save_pretrained(folder)
    return ranker_of(recommender=Backbone(family=family, pretrained=str(folder), max_length=14, item_width=12), **more)


@slow
@pytest.mark.parametrize("kept", [None, [0, 2]])
@pytest.mark.parametrize("family", CHECKPOINTS)
def test_a_checkpoint_keeps_the_windows_that_its_layers_look_through(family, kept, tmp_path):
    ranker = of_checkpoint(family, CHECKPOINTS[family](), tmp_path / "checkpoint", kept=kept)

    served = export_bundle(ranker, tmp_path / "bundle")

    assert difference(ranker, served, histories((0, 2, 5, 11, 14, 20))) < 1e-5


@slow
def test_a_graph_that_cannot_be_written_is_said_in_words(tmp_path):
    """Frequencies that depend on how long the longest input was so far are a branch, and a graph has none."""
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
    model = LlamaModel(LlamaConfig(**SHAPE, rope_parameters=rope))
    ranker = of_checkpoint("llama", model, tmp_path / "checkpoint")

    with pytest.raises(ModelError, match="cannot be written as one graph"):
        export_bundle(ranker, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


# text


@slow
@pytest.mark.parametrize("weights", ["float32", "int8"])
@pytest.mark.parametrize("family", ["llama", "bert"])
def test_items_that_are_known_by_their_titles(family, weights, tmp_path):
    encoder = tiny_texts.save_text_model("bert", tmp_path / "encoder")
    asked = Text(encoder=str(encoder), family=family, layers=3, width=32, item_width=12, max_length=LENGTH)
    ranker = attrs.evolve(ranker_of(recommender=asked, kept=[0, 2]), component="text")

    served = export_bundle(ranker, tmp_path / "bundle", weights=weights)

    inner = [*maps_of(ranker.model.transformer), ranker.model.project_in, ranker.model.project_out]
    assert (len(inner) if weights == "int8" else 0) == served.described.quantised
    assert compared(ranker, served).top > 0.75
    assert weights == "int8" or difference(ranker, served) < 1e-5


@pytest.mark.parametrize("family", ["llama", "bert"])
@torch.no_grad()
def test_titles_give_the_rows_of_the_table_and_of_no_item(family, tmp_path):
    encoder = tiny_texts.save_text_model("bert", tmp_path / "encoder")
    asked = Text(encoder=str(encoder), family=family, layers=1, width=16, item_width=12, max_length=LENGTH)
    model = ranker_of(recommender=asked).model

    parts = asked.parts(model)

    items = model.item_embedding
    expected = items.vectors[model.config.first_item :] @ items.project.weight.T + items.project.bias
    torch.testing.assert_close(parts.table, expected)
    assert not parts.special[0].any()
    assert family == "llama" or torch.equal(parts.special[1], items.mask.weight[0])
