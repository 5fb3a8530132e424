"""`backbone` and `text` taken apart for exporters: what reads rows of the item table, and the table."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from lwa_core import ExportedParts, ModelError
from lwa_plugins.recommenders.backbone.model import BackboneModel


class _Network(nn.Module):
    """What `BackboneModel` does, from item embeddings on, at the last place of each example.

    Masks are the family's own: transformers makes them of sizes that stay symbols, with the windows that single layers
    of a checkpoint look through. Causal attention is given none, as in the model.
    """

    def __init__(self, model: BackboneModel) -> None:
        super().__init__()
        self.transformer, self.project_in, self.project_out = model.transformer, model.project_in, model.project_out
        self.bidirectional = model.config.bidirectional

    def forward(self, rows: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        seen = {}
        if self.bidirectional:
            seen["attention_mask"] = (torch.arange(rows.shape[1], device=rows.device) <= last[:, None]).long()
        states = self.transformer(inputs_embeds=self.project_in(rows), **seen).last_hidden_state
        # Of `states.shape[0]`, since `len(states)` would freeze the batch in the graph.
        asked = states[torch.arange(states.shape[0], device=states.device), last]
        return cast(torch.Tensor, self.project_out(asked))


def parts_of(model: Any, history: int) -> ExportedParts:
    """The parts of a model with plain weights.

    Args:
        model: The model.
        history: Longest input, the mask included.

    Raises:
        ModelError: It is in another form, such as with adapters around it.
    """
    if not isinstance(model, BackboneModel):
        raise ModelError(f"a {type(model).__name__} is no plain model of item vectors and a transformer")
    config: Any = model.config
    with torch.no_grad():
        special = model.item_embedding(torch.arange(config.first_item, device=model.device))
        table = model.item_table().detach()
    return ExportedParts(_Network(model), table, special, history, mask=config.bidirectional)
