"""Language models, text classifiers and text encoders of transformers as subjects.

An example of a causal language model is a text cut at a random position, and its target the token that came next; of a
masked one, a text with one token masked, and its target that token; of a classifier, a text and its label; of an
encoder, a text and its place in a fixed index of vectors: that of the text that belongs to it. "Items" are the tokens
of the vocabulary, the classes, or the texts of the index.
"""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import Any

import attrs
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from lwa_core.errors import LwaError, ModelError
from lwa_core.modeling.layers.layered import base_of
from lwa_core.modeling.probing.batches import moved
from lwa_core.modeling.probing.example_metrics import at_least_single
from lwa_core.plugins.restoring import Restorer
from lwa_core.text.tokenizers import longest_text
from lwa_core.types import Batch, History, Losses, TrainingSettings

MASKED_IN_TRAINING = 0.15
"""Chance of a token to be masked in training (Devlin et al. 2019, BERT)."""


@attrs.frozen(eq=False)
class Head:
    """A linear map from a text's vector to logits that the model itself does not have.

    Args:
        vectors: Of each class or text (items, width).
        bias: Of each (items,); None: 0.
        scale: Products are multiplied by it.
        unit: Vectors of texts are brought to length 1 before: the products of unit vectors are cosines.
        names: What the classes are called; empty where items are texts.
    """

    vectors: torch.Tensor
    bias: torch.Tensor | None = None
    scale: float = 1.0
    unit: bool = False
    names: tuple[str, ...] = ()

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        logits = self.scale * (hidden @ self.vectors.to(hidden).T)
        return logits if self.bias is None else logits + self.bias.to(hidden)


class AskedText(np.ndarray[Any, np.dtype[np.int32]]):
    """Token ids of a text (tokens,), and `target`, the class or place that it is asked for; -1: it has none."""

    target: int = -1

    def __new__(cls, ids: NDArray[np.int32], target: int) -> AskedText:
        made = np.asarray(ids, dtype=np.int32).view(cls)
        made.target = target
        return made


@attrs.define(eq=False)
class TextModel:
    """A model of texts with its tokenizer, as what a probe asks and the core's loop trains.

    The head is the model's last linear map, or `head_of_ours`: `encode` gives what goes into it where the target is
    asked for. That this is all the model's own head does is checked against the model's answers (`check`).

    Args:
        task: `causal`, `masked`, `classify` or `encode`.
        model: The network, in eval mode.
        tokenizer: Its tokenizer.
        output: Dotted path of its last linear map; empty where there is a `head_of_ours`.
        head_of_ours: A head that the model itself does not have, over the pooled states.
        pooling: What the states of a text become a vector by, with a `head_of_ours`: `mean`, `cls` or `last`.
        restorers: The compressors that gave the network other modules than its class builds, in their order.
    """

    task: str
    model: Any
    tokenizer: Any
    output: str = ""
    head_of_ours: Head | None = None
    pooling: str = "mean"
    restorers: tuple[Restorer, ...] = ()

    @property
    def pad(self) -> int:
        """What fills up short texts: masked, and nobody's target."""
        known = (getattr(self.model.config, "pad_token_id", None), self.tokenizer.pad_token_id)
        return next((int(value) for value in known if value is not None), 0)

    @property
    def per_token(self) -> bool:
        """Whether tokens are asked for (else the whole text is)."""
        return self.task in ("causal", "masked")

    @property
    def at_end(self) -> bool:
        """Whether the target is asked for at the last token (else, for a classifier, at the first)."""
        return self.task == "causal" or self.pooling == "last" or _is_causal(self.model)

    @property
    def longest(self) -> int:
        """How many tokens a text can have."""
        return longest_text(base_of(self.model).base_model, self.tokenizer)

    @property
    def vocabulary(self) -> int:
        """How many tokens the model knows. Raises ModelError where its embeddings are no table."""
        model: Any = base_of(self.model)
        try:
            return len(model.get_input_embeddings().weight)
        except (AttributeError, NotImplementedError, TypeError) as error:
            raise ModelError(f"{type(model).__name__} has no table of embeddings of tokens") from error

    @property
    def classes(self) -> dict[str, int]:
        """What a classifier calls its classes."""
        if self.head_of_ours is not None:
            return {name: number for number, name in enumerate(self.head_of_ours.names)}
        return {str(name): int(number) for name, number in self.model.config.label2id.items()}

    # As a subject

    def example_batch(self, histories: Sequence[History], targets: NDArray[np.int64] | None = None) -> Batch:
        """Token ids, padded on the right, and where in each text the target is asked for: `places` (examples,)."""
        batch = self._padded(histories)
        ids, mask = batch["input_ids"], batch["attention_mask"]
        if self.task == "masked":
            places = (ids == self.tokenizer.mask_token_id).int().argmax(dim=1)
        else:
            places = mask.sum(dim=1) - 1 if self.at_end else torch.zeros(len(ids), dtype=torch.long)
        batch["places"] = places
        if targets is not None:
            batch["labels"] = _labels_at(ids, places, torch.from_numpy(np.asarray(targets, dtype=np.int64)))
        return batch

    def _padded(self, texts: Sequence[History]) -> Batch:
        ids = torch.full((len(texts), max(map(len, texts))), self.pad)
        mask = torch.zeros_like(ids)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = torch.from_numpy(np.asarray(text, dtype=np.int64))
            mask[row, : len(text)] = 1
        return {"input_ids": ids, "attention_mask": mask}

    def encode(self, model: nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """What goes into the head where targets are asked for (targets, width), and the targets (targets,)."""
        asked, targets = self._asked(batch)
        if self.head_of_ours is not None:
            return self.vectors(model, batch), targets
        seen: list[torch.Tensor] = []

        def pick(_: nn.Module, args: tuple[Any, ...]) -> Any:
            state: torch.Tensor = args[0]
            seen.append(state[asked] if state.dim() == 3 else state)
            # The other positions' logits would cost time x vocabulary; a classifier picks its own position afterwards.
            return args if self.task == "classify" else (seen[-1][:, None],)

        handle = base_of(model).get_submodule(self.output).register_forward_pre_hook(pick)
        try:
            self._forward(model, batch)
        finally:
            handle.remove()
        if len(seen) != 1:
            raise ModelError(f"{self.output} of {type(model).__name__} was called {len(seen)} times, not once")
        return seen[0], targets

    def _asked(self, batch: Batch) -> tuple[tuple[torch.Tensor, torch.Tensor], torch.Tensor]:
        """Rows and places that are asked for, and the targets there."""
        if "labels" in batch:
            rows, places = batch["labels"].nonzero(as_tuple=True)
            return (rows, places), batch["labels"][rows, places] - 1
        places = batch["places"]
        return (torch.arange(len(places), device=places.device), places), batch.get("targets", places)

    def head(self, model: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
        """Logits of every token, class or text of the index (targets, items)."""
        if self.head_of_ours is not None:
            return self.head_of_ours(hidden)
        logits: torch.Tensor = base_of(model).get_submodule(self.output)(hidden)
        return logits

    def vectors(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """One vector for each text, by `pooling` (examples, width); of length 1 where the head compares cosines."""
        states: torch.Tensor = self._forward(model, batch).last_hidden_state
        mask = batch["attention_mask"].to(states)
        if self.pooling == "mean":
            made = (states * mask[:, :, None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        else:
            places = batch["attention_mask"].sum(dim=1) - 1 if self.pooling == "last" else torch.zeros_like(mask[:, 0])
            made = states[torch.arange(len(states), device=states.device), places.long()]
        unit = self.head_of_ours is None or self.head_of_ours.unit
        return F.normalize(made, dim=1) if unit else made

    def _forward(self, model: nn.Module, batch: Batch) -> Any:
        takes = signature(base_of(model).forward).parameters
        plain = {"use_cache": False} if "use_cache" in takes else {}
        return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], **plain)

    def answer(self, texts: Sequence[str], length: int) -> torch.Tensor:
        """What a request gets: the vector of each text, or the first item where it is asked for."""
        outputs = self.outputs(self.request_batch(texts, length))
        return outputs if self.task == "encode" else outputs.argmax(dim=1)

    def request_batch(self, texts: Sequence[str], length: int) -> Batch:
        """Texts as the network takes them, on its device."""
        ids = self.tokenizer(list(texts), truncation=True, max_length=length)["input_ids"]
        return moved(self.example_batch([np.array(text, dtype=np.int32) for text in ids]), self.model)

    def outputs(self, batch: Batch) -> torch.Tensor:
        """What the network alone makes of a batch: the vector of each text, or its logits."""
        with torch.no_grad():
            hidden, _ = self.encode(self.model, batch)
            return hidden if self.task == "encode" else self.head(self.model, hidden)

    # As what is trained

    def training(self) -> TrainingSettings:
        """The full model is loaded: it is not trained further."""
        return TrainingSettings(epochs=0, batch=1, learning_rate=0.0)

    def training_windows(self, sequences: Sequence[History]) -> list[History]:
        """The texts that have something to ask for."""
        return [text for text in sequences if len(text) > (1 if self.task == "causal" else 0)]

    def training_batch(self, windows: Sequence[History]) -> Batch:
        """Every next token; masked tokens, drawn anew each time; or the target of each text."""
        if not self.per_token:
            targets = np.array([getattr(window, "target", -1) for window in windows], dtype=np.int64)
            return self.example_batch(windows, targets)
        batch = self._padded(windows)
        ids, mask = batch["input_ids"], batch["attention_mask"]
        if self.task == "causal":
            labels = torch.zeros_like(ids)
            labels[:, :-1] = (ids[:, 1:] + 1) * mask[:, 1:]
            return {**batch, "labels": labels}
        special = torch.isin(ids, torch.tensor(sorted({*self.tokenizer.all_special_ids, self.pad})))
        free = mask.bool() & ~special
        chosen = (torch.rand(ids.shape) < MASKED_IN_TRAINING) & free
        without = ~chosen.any(dim=1) & free.any(dim=1)  # a text of few tokens: its last one
        last = (torch.arange(ids.shape[1]) * free).argmax(dim=1)
        chosen[without, last[without]] = True
        labels = torch.where(chosen, ids + 1, 0)
        return {**batch, "input_ids": torch.where(chosen, self.tokenizer.mask_token_id, ids), "labels": labels}

    def loss(self, model: nn.Module, batch: Batch) -> Losses:
        """Cross-entropy of the targets of each example."""
        hidden, targets = self.encode(model, batch)
        losses = F.cross_entropy(at_least_single(self.head(model, hidden)), targets, reduction="none")
        (rows, _), _ = self._asked(batch)
        count = torch.zeros(len(batch["input_ids"]), dtype=torch.long, device=losses.device)
        total = torch.zeros(len(count), dtype=losses.dtype, device=losses.device).index_add(0, rows, losses)
        return Losses(total, count.index_add(0, rows, torch.ones_like(rows)))

    # What is trusted only once it was seen

    def check(self, histories: Sequence[History]) -> None:
        """See that `head` after `encode` gives the model's own logits for these examples.

        Raises:
            ModelError: It does not: the model does more after its last linear map, or asks elsewhere; or they are NaN.
        """
        if self.head_of_ours is not None:
            return  # the logits are made here
        batch = moved(self.example_batch(histories), self.model)
        name = type(self.model).__name__
        try:
            with torch.no_grad():
                whole = at_least_single(self._forward(self.model, batch).logits)
                made = at_least_single(self.head(self.model, self.encode(self.model, batch)[0]))
        except LwaError:
            raise
        except Exception as error:  # of the family's own code
            hint = "--length shortens the texts; a classifier without a pad_token_id takes --batch 1"
            raise ModelError(f"{name} cannot be called with these texts: {error}", hint) from error
        if lost := int(whole.isnan().flatten(1).any(dim=1).sum()):
            hint = "its weights are damaged, or need another precision"
            raise ModelError(f"the logits of {name} are NaN for {lost} of {len(whole)} texts", hint)
        own = whole[torch.arange(len(whole)), batch["places"].to(whole.device)] if whole.dim() == 3 else whole
        if own.shape != made.shape or not _near(own, made, next(self.model.parameters()).dtype):
            raise ModelError(
                f"the logits of {name} are not those of its last linear map, {self.output}, at one position",
                "models that scale or cap their logits, or read several positions, are not supported",
            )


def _labels_at(ids: torch.Tensor, places: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    labels = torch.zeros_like(ids)
    labels[torch.arange(len(ids)), places] = targets + 1
    return labels


def _near(own: torch.Tensor, made: torch.Tensor, kind: torch.dtype) -> bool:
    """Whether logits are the same but for rounding: that of half precision changes with the shape of a product."""
    error = max(1e-3, 4 * torch.finfo(kind).eps) * max(1.0, float(own.abs().max()))
    return float((own - made).abs().max()) <= error


def _is_causal(model: Any) -> bool:
    """Whether a model is made of a causal language model."""
    from transformers.models.auto import modeling_auto as auto

    kind = model.config.model_type
    return kind in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
