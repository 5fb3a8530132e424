"""Load models of texts: local files only, no remote code, safetensors only. And save them, so that both come back."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import nn

from lwa_core.errors import ModelError
from lwa_core.modeling.files.model_folder import SUBJECT, json_object, read_values
from lwa_core.modeling.files.saving import load_pretrained
from lwa_core.modeling.layers.layered import base_of
from lwa_core.plugins.registry import Registry
from lwa_core.plugins.restoring import described, load_network, restorers_of, save_network
from lwa_core.store.checksums import checksums, difference
from lwa_core.store.files import write_json
from lwa_core.store.sealing import MANIFEST
from lwa_core.text.subject import Head, TextModel
from lwa_core.text.tokenizers import load_tokenizer

TASKS = {
    "causal": "AutoModelForCausalLM",
    "masked": "AutoModelForMaskedLM",
    "classify": "AutoModelForSequenceClassification",
    "encode": "AutoModel",
}
"""What a model is asked for -> the class that loads it."""

POOLINGS = ("mean", "cls", "last")
FORMAT = 2
"""Since 2 the description lists the other files."""

HEAD = "head.safetensors"
"""Lies beside a saved model: a head that is not its own."""


def load_text_model(
    folder: Path,
    task: str | None = None,
    note: Callable[[str], None] | None = None,
    *,
    pooling: str = "mean",
    registry: Registry | None = None,
) -> TextModel:
    """A model and its tokenizer.

    Args:
        folder: What `save_pretrained` wrote of both, or what `save_text_model` wrote.
        task: Any of `TASKS`; by the `architectures` of config.json where left out. A bare encoder asked to `classify`
            has no head yet.
        note: Told of weights in the files that the model has no use for.
        pooling: What an encoder's states become a vector by.
        registry: The plugins, for a model whose modules a compressor replaced; the installed ones where left out.

    Raises:
        PluginError: A compressor that made the model is not known.
        ModelError: One of them cannot be loaded, or is none of a kind that can be scored.
    """
    import transformers

    if (folder / SUBJECT).is_file():
        said = _described(folder)
        task, pooling, bare = said["ask"], said["pooling"], said["head"] is not None
    else:
        said, made_for = None, task_of(folder, task)
        task = task or made_for
        bare = task == "encode" or (task == "classify" and made_for == "encode")
    spare = None if note is None else partial(_tell_spare, folder, note)
    load = partial(load_pretrained, getattr(transformers, TASKS["encode" if bare else task]), folder, spare)
    made_by = None if said is None else said.get("restored_by")
    restorers = restorers_of(made_by, registry or Registry.discover(), folder) if made_by else ()
    model: Any = load_network(load, restorers, folder)
    if getattr(model.config, "is_encoder_decoder", False):
        raise ModelError(f"{type(model).__name__} has an encoder and a decoder; one stack of layers is needed")
    tokenizer = load_tokenizer(folder)
    if task == "masked" and tokenizer.mask_token_id is None:
        raise ModelError(f"the tokenizer in {folder} has no mask token")
    if bare:
        head = _read_head(said, folder)
        return TextModel(task, model, tokenizer, head_of_ours=head, pooling=pooling, restorers=restorers)
    if task == "classify" and (model.config.num_labels < 2 or _problem(model) != "single_label_classification"):
        raise ModelError(f"{type(model).__name__} is no classifier of texts with one label out of several")
    return TextModel(task, model, tokenizer, _output_of(base_of(model), task), restorers=restorers)


def save_text_model(asked: TextModel, folder: Path) -> None:
    """Write a model, its tokenizer and how it is asked: plain `from_pretrained` loads the first two.

    Not so where a compressor replaced modules: `load_text_model` then has them again from that.
    """
    save_network(asked.model, asked.restorers, folder)
    asked.tokenizer.save_pretrained(folder)
    describe(asked, folder)


def describe(asked: TextModel, folder: Path) -> None:
    """Write what stands beside the model's own files."""
    head = asked.head_of_ours
    if head is not None:
        tensors = {"vectors": head.vectors, **({} if head.bias is None else {"bias": head.bias})}
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, folder / HEAD)
    own = None if head is None else {"scale": head.scale, "unit": head.unit, "names": list(head.names)}
    told = {"format": FORMAT, "ask": asked.task, "pooling": asked.pooling, "head": own}
    made_by = {"restored_by": described(asked.restorers)} if asked.restorers else {}
    write_json(folder / SUBJECT, {**told, **made_by, "files": checksums(folder, but=SUBJECT)})


def _described(folder: Path) -> dict[str, Any]:
    """How a saved model is asked, once its files were seen to be those that were saved. Raises ModelError otherwise."""
    said, file = json_object(folder / SUBJECT), folder / SUBJECT
    if said.get("format") not in (1, FORMAT):
        raise ModelError(f"{file} is in a format that this version of lwa does not read")
    if said["format"] == FORMAT:
        wrong = difference(folder, said.get("files"), holder=SUBJECT, others=(MANIFEST,))
        if wrong:
            raise ModelError(f"the model in {folder} is not as it was saved: {wrong}", "copy or make it again")
    head = said.get("head")
    known = said.get("ask") in tuple(TASKS) and said.get("pooling") in POOLINGS  # tuples: what is said may be a list
    if not known or not (head is None or _is_head(head)):
        raise ModelError(f"{file} does not say how a model is asked: a part is missing, or of another type")
    return {**said, "head": head}


def _is_head(said: Any) -> bool:
    if not isinstance(said, dict) or not isinstance(said.get("unit"), bool):
        return False
    scale, names = said.get("scale"), said.get("names")
    number = isinstance(scale, (int, float)) and not isinstance(scale, bool) and math.isfinite(scale)
    return number and isinstance(names, list) and all(isinstance(name, str) for name in names)


def _read_head(said: Any, folder: Path) -> Head | None:
    if said is None:
        return None
    own = said["head"]
    try:
        tensors = load_file(folder / HEAD)
    except Exception as error:  # safetensors raises its own kind, the system others
        raise ModelError(f"cannot read {folder / HEAD}: {error}") from error
    vectors, bias = tensors.get("vectors"), tensors.get("bias")
    items = 0 if vectors is None or vectors.dim() != 2 else len(vectors)
    if not items or (bias is not None and bias.shape != (items,)) or (own["names"] and len(own["names"]) != items):
        raise ModelError(f"{folder / HEAD} holds no head: vectors (items, width), and a bias (items,) or none")
    assert vectors is not None
    return Head(vectors, bias, own["scale"], own["unit"], tuple(own["names"]))


def _tell_spare(folder: Path, note: Callable[[str], None], names: list[str]) -> None:
    note(f"{folder} holds weights that the model does not use: {', '.join(names)}")


def task_of(folder: Path, wanted: str | None = None) -> str:
    """What the model in a folder was made for, by its config.json. Raises ModelError where that is none of `TASKS`."""
    from transformers.models.auto import modeling_auto as auto

    mappings = {
        "causal": auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        "masked": auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        "classify": auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
        "encode": auto.MODEL_MAPPING_NAMES,
    }
    named = read_values(folder).get("architectures")
    if not isinstance(named, list) or len(named) != 1 or not isinstance(named[0], str):
        raise ModelError(f"{folder}/config.json does not say what the model is", "say it with --task")
    name = named[0]
    for task, mapping in mappings.items():
        if any(name in names or name == names for names in mapping.values()):
            return task
    if wanted is not None:
        return wanted
    hint = "where it can be loaded as one, --task (in a recipe: model.ask) says so"
    raise ModelError(f"{name} is no causal or masked language model, sequence classifier or encoder", hint)


def _problem(model: Any) -> str:
    return str(model.config.problem_type or "single_label_classification")


def _output_of(model: Any, task: str) -> str:
    """Path of the last linear map."""
    if task != "classify":
        output = model.get_output_embeddings()
        named = [path for path, module in model.named_modules() if output is not None and module is output]
    else:
        inside = f"{model.base_model_prefix}."
        named = [
            path
            for path, module in model.named_modules()
            if isinstance(module, nn.Linear)
            and module.out_features == model.config.num_labels
            and not path.startswith(inside)
        ]
    if not named:
        raise ModelError(f"{type(model).__name__} has no linear map to its logits that can be found")
    return str(named[-1])
