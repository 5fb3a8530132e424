"""The families of transformers that `backbone` can be made of, and how each spells its sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import attrs


@attrs.frozen
class Family:
    """One family, by its `model_type` in transformers.

    Args:
        sizes: Its configuration's keys for layers, width, heads, inner width of the feed-forward, and positions.
        gated: Its feed-forward is gated, with three matrices instead of two.
        rotary: It rotates queries and keys, so that the size of a head must be even, and has no table of positions.
        bidirectional: Every position sees all others.
        dropouts: Its configuration's keys for rates of dropout.
        drops_inputs: One of them is that of the embeddings.
        more: Other keys, which do not depend on the settings.
    """

    sizes: tuple[str, str, str, str, str]
    gated: bool = False
    rotary: bool = False
    bidirectional: bool = False
    dropouts: tuple[str, ...] = ()
    drops_inputs: bool = False
    more: Mapping[str, Any] = attrs.field(factory=dict)

    def shape(self, layers: int, width: int, heads: int, max_length: int) -> dict[str, Any]:
        """The configuration's keys for a fresh model.

        A gated feed-forward is 8/3 as wide as the states and a plain one 4 times, which is as many weights (Shazeer
        2020, GLU variants improve transformer); rounded up to whole blocks of 4-bit weights.
        """
        inner = 64 * math.ceil(8 * width / 3 / 64) if self.gated else 4 * width
        sizes = dict(zip(self.sizes, (layers, width, heads, inner, max_length), strict=True))
        return {**sizes, **self.more}

    def dropout(self, rate: float) -> dict[str, float]:
        """The configuration's keys for dropout."""
        return dict.fromkeys(self.dropouts, rate)


COMMON = (
    "num_hidden_layers",
    "hidden_size",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
)
LLAMA = Family(COMMON, gated=True, rotary=True, dropouts=("attention_dropout",))

FAMILIES = {
    "llama": LLAMA,
    "mistral": attrs.evolve(LLAMA, more={"sliding_window": None}),
    "qwen3": LLAMA,
    "gemma3_text": LLAMA,
    "gpt2": Family(
        ("n_layer", "n_embd", "n_head", "n_inner", "n_positions"),
        dropouts=("embd_pdrop", "attn_pdrop", "resid_pdrop"),
        drops_inputs=True,
    ),
    "bert": Family(
        COMMON, bidirectional=True, dropouts=("hidden_dropout_prob", "attention_probs_dropout_prob"), drops_inputs=True
    ),
    "modernbert": Family(
        COMMON,
        gated=True,
        rotary=True,
        bidirectional=True,
        dropouts=("embedding_dropout", "attention_dropout", "mlp_dropout"),
        drops_inputs=True,
    ),
}

NO_WORDS = {
    "vocab_size": 1,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
    "cls_token_id": None,
    "sep_token_id": None,
}
"""Keys of a model that is called with embeddings alone. transformers insists on a table of words, so it has one row."""


def fresh_values(family: str, layers: int, width: int, heads: int, max_length: int) -> dict[str, Any]:
    """The configuration of a fresh model, as keys."""
    values = {**FAMILIES[family].shape(layers, width, heads, max_length), **NO_WORDS}
    if FAMILIES[family].gated and not FAMILIES[family].bidirectional:
        values |= {"num_key_value_heads": heads, "head_dim": width // heads}
    if family == "gemma3_text":
        values["query_pre_attn_scalar"] = width // heads
    return values
