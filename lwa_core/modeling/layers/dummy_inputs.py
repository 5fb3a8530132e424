"""Inputs to call a model with, made up from what its configuration says it takes."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

LENGTH = 12


def dummy_inputs(model: nn.Module) -> dict[str, torch.Tensor]:
    """Two random examples: token ids, images or spectra. Empty where the model takes something else."""
    generator = torch.Generator().manual_seed(0)
    config: Any = model.config
    names = inspect.signature(model.forward).parameters
    main = getattr(model, "main_input_name", "input_ids")
    inputs: dict[str, torch.Tensor] = {}
    if main == "pixel_values":
        inputs[main] = torch.randn(2, getattr(config, "num_channels", 3), *_image_size(config), generator=generator)
    elif main == "input_features" and hasattr(config, "num_mel_bins") and hasattr(config, "max_source_positions"):
        inputs[main] = torch.randn(2, config.num_mel_bins, 2 * config.max_source_positions, generator=generator)
    elif main == "input_values" and hasattr(config, "conv_kernel") and hasattr(config, "conv_stride"):
        inputs[main] = torch.randn(2, _samples(config), generator=generator)
    elif main == "input_ids":
        inputs[main] = _token_ids(model, generator)
    if inputs and config.is_encoder_decoder and "decoder_input_ids" in names:
        inputs["decoder_input_ids"] = _token_ids(model, generator)
    device = next(model.parameters())
    return {n: v.to(device.device, device.dtype if v.is_floating_point() else None) for n, v in inputs.items()}


def _image_size(config: Any) -> tuple[int, int]:
    size = getattr(config, "image_size", 224)
    return (size, size) if isinstance(size, int) else tuple(size)


def _samples(config: Any) -> int:
    """How many samples of sound become `LENGTH` states."""
    length = LENGTH
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        length = (length - 1) * stride + kernel
    return length


def _token_ids(model: Any, generator: torch.Generator) -> torch.Tensor:
    """Ids (2, time), none of them with a meaning of its own where there are others."""
    text = model.config.get_text_config()
    limits = [getattr(text, name, None) for name in ("max_position_embeddings", "n_positions")]
    longest = min([LENGTH, *(limit for limit in limits if isinstance(limit, int) and limit > 0)])
    special = {value for name, value in text.to_dict().items() if name.endswith("token_id") and isinstance(value, int)}
    ids = [i for i in range(model.get_input_embeddings().num_embeddings) if i not in special] or [0]
    picks = torch.randint(len(ids), (2, longest), generator=generator)
    return torch.tensor(ids)[picks]
