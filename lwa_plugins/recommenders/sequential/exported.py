"""`sequential` taken apart for exporters: the network over rows of the item table, and the tables."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from lwa_core import ExportedParts, ModelError
from lwa_plugins.recommenders._transitions import arrays_of
from lwa_plugins.recommenders.sequential.model import Block, SequentialModel
from lwa_plugins.recommenders.sequential.times import gap_buckets


class _Network(nn.Module):
    """What `SequentialModel.at` does, from embeddings on; with a map behind the last block what `forward` does."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.one_place = model.can_be_asked_at()

    def forward(self, rows: torch.Tensor, last: torch.Tensor, times: torch.Tensor | None = None) -> torch.Tensor:
        model = self.model
        states = rows + model.position_embedding.weight[: rows.shape[1]]
        seen: tuple[torch.Tensor | None, ...] = ()
        if model.config.masked:
            # Behind the last place is padding, which nobody is to see; in front of it there is none.
            behind = torch.arange(rows.shape[1], device=rows.device) > last[:, None]
            hidden = torch.zeros(behind.shape, dtype=rows.dtype).masked_fill(behind, -torch.inf)
            seen = (hidden[:, None, None],)
        elif times is not None:
            seen = (None, gap_buckets(times, times))
        for block in model.blocks[:-1]:
            states = block(states, *seen)
        if not self.one_place:
            states = cast(torch.Tensor, model.norm(model.blocks[-1](states, *seen)))
            return states.gather(1, last[:, None, None].expand(-1, 1, states.shape[2]))[:, 0]
        gaps = None if times is None else model.gaps_at(last, times)
        return cast(torch.Tensor, model.norm(cast(Block, model.blocks[-1]).at(states, last, gaps)))


def parts_of(model: Any) -> ExportedParts:
    """The parts of a model with plain weights. Raises ModelError for one in 4 bits, or with adapters beside it."""
    if type(model) is not SequentialModel or not model.has_plain_weights():
        raise ModelError("the model has packed weights or adapters, which no graph holds", "export the student before")
    config = model.config
    with torch.no_grad():
        table = model.item_table().detach().float()
        special = model.special_rows().detach().float()
    return ExportedParts(
        _Network(model),
        table,
        special,
        config.max_length,
        mask=config.masked,
        times=config.time_bias,
        transitions=None if model.prior is None else arrays_of(model.prior),
    )
