"""Tiny models of other families as recommenders that a probe can ask."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import torch
from numpy.typing import NDArray

from lwa_core.modeling.layers.layered import LayeredModel
from lwa_core.modeling.probing.observation import observe
from lwa_core.modeling.probing.probe import Probe

Batch = dict[str, torch.Tensor]

GROUPED: dict[str, Any] = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}
SIZES: dict[str, Any] = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "GPT-2": ("GPT2Model", {"vocab_size": 40, "n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 16}),
    "T5 encoder": (
        "T5EncoderModel",
        {"vocab_size": 40, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_heads": 2, "num_layers": 3}
        | {"relative_attention_num_buckets": 6, "relative_attention_max_distance": 8},
    ),
    "Llama": ("LlamaModel", SIZES | GROUPED),
    "Qwen3": ("Qwen3Model", SIZES | GROUPED),
    "BERT": ("BertModel", SIZES | {"num_attention_heads": 2, "max_position_embeddings": 32}),
}


@attrs.frozen(eq=False)
class Wrapped:
    """What a probe needs of a recommender: states from a model, logits from a fixed table (items, width).

    Args:
        table: What the states are scored against.
        padding: The side that short histories are padded on.
    """

    table: torch.Tensor
    padding: str = "right"

    def example_batch(self, histories: Sequence[NDArray[np.int32]], targets: Any = None) -> Batch:
        longest = max(len(history) for history in histories)
        ids, mask, labels = np.zeros((3, len(histories), longest), dtype=np.int64)
        for row, history in enumerate(histories):
            at = slice(longest - len(history), None) if self.padding == "left" else slice(len(history))
            ids[row, at], mask[row, at] = history + 3, 1
            if targets is not None:
                labels[row, np.arange(longest)[at][-1]] = targets[row] + 1
        made = {"input_ids": ids, "attention_mask": mask, "labels": labels}
        return {name: torch.from_numpy(values) for name, values in made.items()}

    def encode(self, model: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        mask = batch["attention_mask"]
        extra = {}
        if self.padding == "left" and "position_ids" in inspect.signature(model.forward).parameters:
            extra["position_ids"] = (mask.cumsum(dim=1) - 1).clamp(min=0)
        states = model(input_ids=batch["input_ids"], attention_mask=mask, **extra)
        states = getattr(states, "last_hidden_state", states)
        last = (torch.arange(mask.shape[1]) * mask).argmax(dim=1)
        return states[torch.arange(len(states)), last], batch["targets"]

    def head(self, model: Any, hidden: torch.Tensor) -> torch.Tensor:
        return hidden @ self.table.T


def wrapped_probe(
    model: Any,
    *,
    width: int,
    items: int = 12,
    examples: int = 6,
    longest: int = 7,
    batch: int = 64,
    padding: str = "right",
) -> Probe:
    """A probe of a model that takes ids from 3 to 3 + items."""
    generator, rng = torch.Generator().manual_seed(0), np.random.default_rng(0)
    dtype = next(model.parameters()).dtype
    table = torch.randn(items, width, generator=generator, dtype=torch.double).to(dtype)
    histories = [rng.integers(0, items, rng.integers(1, longest + 1)).astype(np.int32) for _ in range(examples)]
    targets = rng.integers(0, items, examples)
    recommender: Any = Wrapped(table, padding)
    return Probe(LayeredModel(model), recommender, histories, targets, batch=batch)


def made(name: str, **settings: Any) -> Any:
    """A model of transformers, such as `LlamaModel`, in double, with weights so large that every layer matters."""
    import transformers

    torch.manual_seed(0)
    cls: Any = getattr(transformers, name)
    model = cls(cls.config_class(**settings)).eval().double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def one_by_one(probe: Probe, labels: NDArray[np.int64] | None = None) -> list[list[dict[str, torch.Tensor]]]:
    """The definition: each example alone, without padding, and autograd's gradients of its loss.

    For every example and layer, the gradient of each parameter by its name in the layer. Tied parameters come once.
    """
    rows = []
    for n, label in enumerate(probe.targets if labels is None else labels):
        batch = alone(probe, n)
        loss = torch.nn.functional.cross_entropy(probe.logits(batch), torch.tensor([int(label)]))
        parameters = {id(p): p for layer in probe.model.layers for p in layer.parameters()}
        found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        gradients = dict(zip(parameters, found, strict=True))
        rows.append(
            [
                {
                    name: gradients[id(p)].double()
                    for name, p in layer.named_parameters()
                    if gradients[id(p)] is not None
                }
                for layer in probe.model.layers
            ]
        )
    return rows


def alone(probe: Probe, n: int) -> Batch:
    """One example as a batch of its own."""
    batch = probe.subject.example_batch([probe.histories[n]], probe.targets[n : n + 1])
    return {**batch, "targets": torch.from_numpy(probe.targets[n : n + 1])}


def observed(probe: Probe, *needs: str, draws: int = 1) -> dict[str, torch.Tensor]:
    """What one pass shows, all micro-batches together, in the examples' own order."""
    seen = list(observe(probe, needs, draws=draws))
    order = torch.from_numpy(probe.order.argsort(kind="stable"))
    return {name: torch.cat([getattr(part, name) for part in seen])[order] for name in needs}
