"""Tiny models of texts with their tokenizers, saved as folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORDS = [f"w{i}" for i in range(40)]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SIZES = {"vocab_size": 45, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 4}
BERT = {**SIZES, "num_attention_heads": 2, "max_position_embeddings": 32, "pad_token_id": 0, "num_labels": 3}
GPT2 = {"vocab_size": 45, "n_embd": 16, "n_layer": 4, "n_head": 2, "n_positions": 32, "bos_token_id": 2}

MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("LlamaForCausalLM", "causal", {**SIZES, "num_attention_heads": 2, "num_key_value_heads": 1}),
    "gpt2": ("GPT2LMHeadModel", "causal", {**GPT2, "eos_token_id": 3}),
    "bert": ("BertForMaskedLM", "masked", BERT),
    "distilbert": (
        "DistilBertForMaskedLM",
        "masked",
        {"vocab_size": 45, "dim": 16, "hidden_dim": 24, "n_layers": 4, "n_heads": 2, "max_position_embeddings": 32},
    ),
    "bert-classifier": ("BertForSequenceClassification", "classify", BERT),
    "roberta-classifier": ("RobertaForSequenceClassification", "classify", {**BERT, "max_position_embeddings": 33}),
    "llama-classifier": (
        "LlamaForSequenceClassification",
        "classify",
        {**SIZES, "num_attention_heads": 2, "pad_token_id": 0, "num_labels": 3},
    ),
    "gemma4": (
        "Gemma4ForCausalLM",
        "causal",
        {
            **{**SIZES, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "global_head_dim": 8},
            **{"sliding_window": 4, "hidden_size_per_layer_input": 4, "vocab_size_per_layer_input": 45},
            **{"num_kv_shared_layers": 2, "num_global_key_value_heads": 1, "pad_token_id": 0},
            "layer_types": ["sliding_attention", "full_attention"] * 2,
        },
    ),
    "fnet": (
        "FNetForMaskedLM",
        "masked",
        {**SIZES, "max_position_embeddings": 32, "pad_token_id": 0, "tpu_short_seq_length": 32},
    ),
    "convbert": (
        "ConvBertForMaskedLM",
        "masked",
        {**BERT, "embedding_size": 16, "num_attention_heads": 4, "conv_kernel_size": 3, "head_ratio": 2},
    ),
}
"""What tests call it -> class in transformers, task, configuration."""


def save_tokenizer(folder: Path, specials: bool) -> None:
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(SPECIAL + WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    if specials:
        words.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]"}
    names |= {"cls_token": "[CLS]", "sep_token": "[SEP]"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=32, **names).save_pretrained(folder)


def save_text_model(name: str, folder: Path, kind: torch.dtype = torch.float32) -> Path:
    """A model with random weights so large that every layer changes the answers, and a tokenizer of words."""
    cls_name, task, config = MODELS[name]
    cls: Any = getattr(transformers, cls_name)
    torch.manual_seed(0)
    model = cls(cls.config_class(**config)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.to(kind).save_pretrained(folder)
    save_tokenizer(folder, specials=task != "causal")
    return folder


def some_texts(count: int = 9, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(3, 12))) for _ in range(count)]
