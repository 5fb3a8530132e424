"""Checkpoints of transformers, without their words and heads: local files only, no remote code, safetensors only."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import Any

import torch
from transformers import MODEL_MAPPING, AutoModel

from lwa_core import ModelError
from lwa_core.modeling import find_blocks, open_pretrained
from lwa_core.modeling import read_config as pretrained_config
from lwa_plugins.recommenders.backbone.families import FAMILIES, NO_WORDS


def read_pretrained(folder: Path, family: str, max_length: int) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Configuration, as keys, and weights of a checkpoint, both without its words.

    Raises:
        ModelError: There is none of this family, it knows fewer positions than `max_length`, or weights lack.
    """
    config = read_config(folder)
    _assert_fits(config, folder, family, max_length)
    model = read_transformer(folder, config)
    words = {id(parameter) for parameter in model.get_input_embeddings().parameters()}
    weights = {name: value for name, value in model.state_dict(keep_vars=True).items() if id(value) not in words}
    values = {name: value for name, value in config.to_dict().items() if name not in ("model_type", "architectures")}
    return {**values, **NO_WORDS}, {name: value.detach() for name, value in weights.items()}


def read_config(folder: Path) -> Any:
    """The configuration of a checkpoint. Raises ModelError where there is none, or a quantised one."""
    config: Any = pretrained_config(folder)
    if getattr(config, "quantization_config", None) is not None:
        raise ModelError(f"the model in {folder} is quantised", "give it in full precision")
    return config


def read_transformer(folder: Path, config: Any) -> Any:
    """The transformer of a checkpoint in float32, in eval mode; heads for words or classes, and poolers, are left out.

    Raises:
        ModelError: It cannot be loaded, or weights are missing or left over.
    """
    if type(config) not in MODEL_MAPPING:
        raise ModelError(f"the model in {folder} is a {config.model_type}, which has no transformer of its own")
    pooled = "add_pooling_layer" in signature(MODEL_MAPPING[type(config)].__init__).parameters
    without = {"add_pooling_layer": False} if pooled else {}
    model: Any
    model, info = open_pretrained(AutoModel, folder, config, dtype=torch.float32, **without)
    lacking = sorted(map(str, [*info["missing_keys"], *info["mismatched_keys"]]))
    blocks = f".{find_blocks(model)}."
    left = sorted(key for key in map(str, info["unexpected_keys"]) if blocks in f".{key}")
    if lacking or left:
        raise ModelError(f"the weights in {folder} do not fit its config.json: {[*lacking, *left]}")
    return model.eval()


def fill(model: Any, weights: dict[str, torch.Tensor]) -> None:
    """Put pretrained weights into the transformer; all that it has but the one row of words must be there.

    Raises:
        ModelError: Other weights are there than it has.
    """
    has = model.transformer.state_dict(keep_vars=True)
    words = {id(parameter) for parameter in model.transformer.get_input_embeddings().parameters()}
    wanted = {name for name, value in has.items() if id(value) not in words}
    if odd := wanted ^ set(weights):
        raise ModelError(f"the pretrained weights do not fit a {type(model.transformer).__name__}: {sorted(odd)}")
    model.transformer.load_state_dict(weights, strict=False)


def _assert_fits(config: Any, folder: Path, family: str, max_length: int) -> None:
    if config.model_type != family:
        raise ModelError(f"the model in {folder} is a {config.model_type}, not a {family}", "change `family`")
    positions = getattr(config, FAMILIES[family].sizes[-1])
    if max_length > positions:
        raise ModelError(f"the model in {folder} knows {positions} positions, not {max_length}", "lower max_length")
