"""Language models and text classifiers of transformers, seen as what a probe asks: one target for each example.

An example of a causal language model is a text cut at a random position, and its target the token that came next; of a
masked one, a text with one token masked, and its target that token; of a classifier, a text and its label. "Items" are
the tokens of the vocabulary, or the classes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lwa_core.errors import ModelError
from lwa_core.modeling.files.saving import load_pretrained
from lwa_core.modeling.libraries import quiet_transformers
from lwa_core.modeling.probing.example_metrics import at_least_single
from lwa_core.types import Batch, History

TASKS = {
    "causal": "AutoModelForCausalLM",
    "masked": "AutoModelForMaskedLM",
    "classify": "AutoModelForSequenceClassification",
}
"""What a model is asked for -> the class that loads it."""


@attrs.define(eq=False)
class TextModel:
    """The part of a recommender that a probe uses, for a model of texts.

    The head is the model's last linear map: `encode` gives what goes into it where the target is asked for. That this
    is all the head does is checked against the model's own answers (`check`).

    Args:
        task: Any of `TASKS`.
        model: The model, in eval mode.
        tokenizer: Its tokenizer.
        output: Dotted path of the last linear map.
    """

    task: str
    model: Any
    tokenizer: Any
    output: str

    @property
    def pad(self) -> int:
        """What fills up short texts: masked, and nobody's target."""
        known = (getattr(self.model.config, "pad_token_id", None), self.tokenizer.pad_token_id)
        return next((int(value) for value in known if value is not None), 0)

    @property
    def at_end(self) -> bool:
        """Whether the target is asked for at the last token (else, for a classifier, at the first)."""
        return self.task == "causal" or _is_causal(self.model)

    @property
    def longest(self) -> int:
        """How many tokens a text can have."""
        return longest_text(self.model.base_model, self.tokenizer)

    @property
    def vocabulary(self) -> int:
        """How many tokens the model knows."""
        return int(self.model.get_input_embeddings().num_embeddings)

    @property
    def classes(self) -> dict[str, int]:
        """What a classifier calls its classes."""
        return {str(name): int(number) for name, number in self.model.config.label2id.items()}

    def example_batch(self, histories: Sequence[History], targets: NDArray[np.int64] | None = None) -> Batch:
        """Token ids, padded on the right, and where in each text the target is asked for: `places` (examples,)."""
        ids = torch.full((len(histories), max(map(len, histories))), self.pad)
        mask = torch.zeros_like(ids)
        for row, history in enumerate(histories):
            ids[row, : len(history)] = torch.from_numpy(history.astype(np.int64))
            mask[row, : len(history)] = 1
        if self.task == "masked":
            places = (ids == self.tokenizer.mask_token_id).int().argmax(dim=1)
        else:
            places = mask.sum(dim=1) - 1 if self.at_end else torch.zeros(len(ids), dtype=torch.long)
        return {"input_ids": ids, "attention_mask": mask, "places": places}

    def encode(self, model: nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """What goes into the last linear map where the target is asked for (examples, width), and the targets."""
        rows, places = torch.arange(len(batch["places"]), device=batch["places"].device), batch["places"]
        seen: list[torch.Tensor] = []

        def pick(_: nn.Module, args: tuple[Any, ...]) -> Any:
            state: torch.Tensor = args[0]
            seen.append(state[rows, places] if state.dim() == 3 else state)
            # The other positions' logits would cost time x vocabulary; a classifier picks its own position afterwards.
            return args if self.task == "classify" else (seen[-1][:, None],)

        handle = model.get_submodule(self.output).register_forward_pre_hook(pick)
        try:
            self._forward(model, batch)
        finally:
            handle.remove()
        if len(seen) != 1:
            raise ModelError(f"{self.output} of {type(model).__name__} was called {len(seen)} times, not once")
        return seen[0], batch.get("targets", places)

    def head(self, model: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
        """Logits of every token or class (examples, items)."""
        logits: torch.Tensor = model.get_submodule(self.output)(hidden)
        return logits

    def _forward(self, model: nn.Module, batch: Batch) -> Any:
        takes = signature(model.forward).parameters
        plain = {"use_cache": False} if "use_cache" in takes else {}
        return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], **plain)

    def check(self, histories: Sequence[History]) -> None:
        """See that `head` after `encode` gives the model's own logits for these examples.

        Raises:
            ModelError: It does not: the model does more after its last linear map, or asks elsewhere.
        """
        device = next(self.model.parameters()).device
        batch = {name: value.to(device) for name, value in self.example_batch(histories).items()}
        name = type(self.model).__name__
        try:
            with torch.no_grad():
                whole = at_least_single(self._forward(self.model, batch).logits)
                made = at_least_single(self.head(self.model, self.encode(self.model, batch)[0]))
        except (IndexError, ValueError, TypeError) as error:
            hint = "--length shortens the texts; a classifier without a pad_token_id takes --batch 1"
            raise ModelError(f"{name} cannot be called with these texts: {error}", hint) from error
        own = whole[torch.arange(len(whole)), batch["places"].to(whole.device)] if whole.dim() == 3 else whole
        if own.shape != made.shape or not _near(own, made, next(self.model.parameters()).dtype):
            raise ModelError(
                f"the logits of {name} are not those of its last linear map, {self.output}, at one position",
                "models that scale or cap their logits, or read several positions, are not supported",
            )


def _near(own: torch.Tensor, made: torch.Tensor, kind: torch.dtype) -> bool:
    """Whether logits are the same but for rounding: that of half precision changes with the shape of a product."""
    error = max(1e-3, 4 * torch.finfo(kind).eps) * max(1.0, float(own.abs().max()))
    return float((own - made).abs().max()) <= error


def longest_text(model: Any, tokenizer: Any) -> int:
    """How many tokens a text can have, for a model without its head."""
    # RoBERTa's positions begin behind the one that stands for padding.
    begins = [
        m.padding_idx
        for name, m in model.named_modules()
        if name.endswith("position_embeddings") and hasattr(m, "padding_idx")
    ]
    lost = sum(place + 1 for place in begins if place is not None)
    positions = getattr(model.config, "max_position_embeddings", sys.maxsize) - lost
    return int(min(tokenizer.model_max_length, positions))


def load_text_model(folder: Path, task: str | None = None, note: Callable[[str], None] | None = None) -> TextModel:
    """A model and its tokenizer: local files only, no remote code, safetensors only.

    Args:
        folder: What `save_pretrained` wrote of both.
        task: Any of `TASKS`; by the `architectures` of config.json where left out.
        note: Told of weights in the files that the model has no use for.

    Raises:
        ModelError: One of them cannot be loaded, or is none of a kind that can be scored.
    """
    import transformers

    task = task or task_of(folder)
    spare = None if note is None else partial(_tell_spare, folder, note)
    model: Any = load_pretrained(getattr(transformers, TASKS[task]), folder, spare)
    if getattr(model.config, "is_encoder_decoder", False):
        raise ModelError(f"{type(model).__name__} has an encoder and a decoder; one stack of layers is needed")
    tokenizer = load_tokenizer(folder)
    if task == "masked" and tokenizer.mask_token_id is None:
        raise ModelError(f"the tokenizer in {folder} has no mask token")
    if task == "classify" and (model.config.num_labels < 2 or _problem(model) != "single_label_classification"):
        raise ModelError(f"{type(model).__name__} is no classifier of texts with one label out of several")
    return TextModel(task, model, tokenizer, _output_of(model, task))


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer in a folder: local files only, no remote code. Raises ModelError where there is none."""
    import transformers

    try:
        with quiet_transformers():
            tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:  # transformers and tokenizers raise many kinds for a bad folder
        raise ModelError(f"cannot load the tokenizer in {folder}: {error}") from error
    if not any((folder / name).is_file() for name in tokenizer.vocab_files_names.values()):
        raise ModelError(f"no tokenizer in {folder}")  # transformers makes an empty one
    return tokenizer


def _tell_spare(folder: Path, note: Callable[[str], None], names: list[str]) -> None:
    note(f"{folder} holds weights that the model does not use: {', '.join(names)}")


def task_of(folder: Path) -> str:
    """What the model in a folder was made for, by its config.json. Raises ModelError where that is none of `TASKS`."""
    from transformers.models.auto import modeling_auto as auto

    mappings = {
        "causal": auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        "masked": auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        "classify": auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    }
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        (name,) = config["architectures"]
    except FileNotFoundError as error:
        raise ModelError(f"no model in {folder}: config.json is missing") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder}/config.json does not say what the model is", "say it with --task") from error
    for task, mapping in mappings.items():
        if name in mapping.values():
            return task
    hint = "where it can be loaded as one, --task says so"
    raise ModelError(f"{name} is no causal or masked language model and no sequence classifier", hint)


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


def _is_causal(model: Any) -> bool:
    """Whether a classifier is made of a causal language model."""
    from transformers.models.auto import modeling_auto as auto

    kind = model.config.model_type
    return kind in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
