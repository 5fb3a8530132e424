"""4-bit weights that are checked against a reference when they are made.

bitsandbytes 0.50 decodes 4-bit weights wrongly, without a word, on AVX512 processors when the input width of a layer is
a multiple of 16 but not of the block size: its blocks run over the flattened tensor, and that branch assumes that they
start anew with every row. So no quantised layer is trusted before its decoded weights equal the reference below.
"""

from __future__ import annotations

import copy
import tempfile
from typing import Any

import torch
from torch import nn

from lwa_core.errors import ModelError
from lwa_core.modeling.devices import device
from lwa_core.modeling.files.saving import forbid_repacking
from lwa_core.modeling.layers.layered import LayeredModel
from lwa_core.modeling.layers.packed_weights import assert_decodes, decode_nf4
from lwa_core.modeling.layers.state_maps import maps_apart, maps_of, put_map
from lwa_core.modeling.libraries import quiet_transformers

BLOCK = 64
TOLERANCE = 1e-5


def decoding_error(weight: torch.Tensor) -> float:
    """Largest difference between bitsandbytes' decoding of `weight` in double-quantised NF4 and the reference's."""
    import bitsandbytes.functional as bnb

    packed, state = bnb.quantize_4bit(
        weight.detach().float(), blocksize=BLOCK, compress_statistics=True, quant_type="nf4"
    )
    return float((bnb.dequantize_4bit(packed, state) - decode_nf4(packed, state)).abs().max())


def nf4_self_check(in_features: int) -> float:
    """`decoding_error` of a layer of this width whose rows differ in scale, as a trained layer's do."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(2 * in_features, 1, generator=generator).exp()
    return decoding_error(torch.randn(2 * in_features, in_features, generator=generator) * rows)


def quantise_nf4(student: LayeredModel) -> tuple[nn.Module, list[str], list[str]]:
    """A copy of a model whose layers have NF4 weights with double quantisation, all else in its own precision.

    Returns:
        The 4-bit model, the names of all Linear modules inside its layers, and the names of those among them that were
        left in full precision because this machine would decode them wrongly.

    Raises:
        ModelError: The model is in 4 bits already or has an adapter, its layers have no Linear, or the decoded weights
            of the finished model differ from the reference.
    """
    from transformers import BitsAndBytesConfig

    if student.model is not student.base or getattr(student.base, "hf_quantizer", None) is not None:
        raise ModelError("the model has 4-bit weights or an adapter already", "give `qlora` once, as the last step")
    inside = f"{student.path}."
    linears = {name: module for name, module in student.base.named_modules() if isinstance(module, nn.Linear)}
    layered = [name for name in linears if name.startswith(inside)]
    if not layered:  # peft would only say that it was given no names
        raise ModelError(
            "the model's layers have no torch.nn.Linear that could be quantised", "leave out the qlora step"
        )
    unsafe = [name for name in layered if not _safe(linears[name].weight)]
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32 if device().type == "cpu" else torch.bfloat16,
        llm_int8_skip_modules=[*(name for name in linears if not name.startswith(inside)), *unsafe] or ["none"],
    )
    with tempfile.TemporaryDirectory() as folder, quiet_transformers():
        with maps_apart(student.base):
            student.base.save_pretrained(folder)  # type: ignore[operator]
        model: Any = type(student.base).from_pretrained(  # type: ignore[attr-defined]
            folder,
            quantization_config=config,
            device_map={"": device()},
            local_files_only=True,
            use_safetensors=True,
        )
    forbid_repacking(model)
    for boundary, state_map in maps_of(student).items():
        put_map(LayeredModel(model, student.path), boundary, copy.deepcopy(state_map))
    model.config._name_or_path = model.name_or_path = ""  # else the adapter would name the temporary folder
    for name in set(layered) - set(unsafe):
        weight = model.get_submodule(name).weight
        assert_decodes(name, weight)
    return model, layered, unsafe


def _safe(weight: torch.Tensor) -> bool:
    return decoding_error(weight) <= TOLERANCE * float(weight.detach().abs().max())
