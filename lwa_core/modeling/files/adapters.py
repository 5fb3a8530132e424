"""Low-rank adapters on the layers of a model, over 4-bit weights or not: put on for training, then merged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn

from lwa_core.errors import ModelError
from lwa_core.modeling.files.quantisation import quantise_nf4
from lwa_core.modeling.layers.layered import LayeredModel
from lwa_core.modeling.libraries import quiet_transformers
from lwa_core.types import Reporter


def with_adapters(
    model: LayeredModel,
    *,
    report: Reporter,
    rank: int,
    alpha: float,
    dropout: float = 0.0,
    four_bit: bool = False,
    whole: Sequence[str] = (),
) -> nn.Module:
    """The model with LoRA adapters (Hu et al. 2021) on every Linear in its layers; nothing else of it is trained.

    Args:
        model: Whose layers. It is changed, where its weights are not to become 4-bit ones.
        report: Warned of layers whose 4-bit weights this machine would decode wrongly.
        rank: Of the adapters.
        alpha: They are scaled by alpha / rank.
        dropout: Before the adapters.
        four_bit: Weights of the layers become NF4 with double quantisation (Dettmers et al. 2023, QLoRA).
        whole: Modules that are trained as they are, each by its full name.

    Raises:
        ModelError: The layers have no Linear, or the 4-bit weights cannot be made.
    """
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    inside = f"{model.path}."
    if four_bit:
        base, linears, left_out = quantise_nf4(model)
        for name in left_out:
            said = f"{name} stays in full precision: its 4-bit weights would be decoded wrongly"
            report.warn("unsafe-4-bit", said)
        with quiet_transformers():
            base = prepare_model_for_kbit_training(base, use_gradient_checkpointing=False)
    else:
        base = model.base
        linears = [n for n, module in base.named_modules() if isinstance(module, nn.Linear) and n.startswith(inside)]
        if not linears:  # peft would only say that it was given no names
            raise ModelError("the layers have no torch.nn.Linear that could be given an adapter")
    how = {"r": rank, "lora_alpha": alpha, "lora_dropout": dropout, "target_modules": linears}
    with quiet_transformers():
        adapted: nn.Module = get_peft_model(base, LoraConfig(**how, modules_to_save=list(whole) or None))
    return adapted


def merged(model: nn.Module) -> nn.Module:
    """The plain model, in full precision, that computes what a model with adapters does.

    4-bit weights are decoded before the adapters are added to them: quantising the sum again would move the outputs.
    """
    from peft.tuners.lora import LoraLayer

    adapted: Any = model
    layers = {n: m for n, m in adapted.get_base_model().named_modules() if isinstance(m, LoraLayer)}
    base: Any = decoded(adapted.unload())
    base.float()  # of half-precision weights the sum would lose most of what an adapter adds
    with torch.no_grad():
        for name, layer in layers.items():
            weight = base.get_submodule(name).weight
            weight += layer.get_delta_weight(layer.active_adapters[0]).to(weight)
    base.requires_grad_(True)
    return cast(nn.Module, base)


def decoded(model: nn.Module) -> nn.Module:
    """The model, in place, with weights of bitsandbytes decoded to float32, if it has any."""
    if getattr(model, "hf_quantizer", None) is None:
        return model
    with quiet_transformers():
        # Of a model that was loaded the configuration says its precision in a word, which transformers cannot cast to.
        return cast(nn.Module, model.dequantize(dtype=torch.float32))  # type: ignore[operator]
