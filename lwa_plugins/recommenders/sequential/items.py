"""What is known of items besides their ids, made part of their embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from lwa_plugins.recommenders._item_files import ItemFacts


class SpecialIds(nn.Embedding):
    """Rows of padding and, where there is one, of the mask: all that is learnt of ids where items have no own table.

    Args:
        items: How many ids there are besides, which have no rows.
        special: How many have one; padding is the first.
        width: Of a row.
    """

    def __init__(self, items: int, special: int, width: int) -> None:
        super().__init__(special, width, padding_idx=0)
        self.num_embeddings = items + special  # whoever asks wants to know which ids may be given


class SideInformation(nn.Module):
    """Mean of the embeddings of an item's attributes, plus linear maps of its vectors (items, width).

    What is not known of an item adds nothing. The facts are buffers, which are saved with the model.

    Args:
        items: How many items there are.
        width: Size of item embeddings.
        attributes: How many different attributes there are; 0 for none.
        pairs: How many attributes all items have together.
        sizes: Of the vectors of each table.
    """

    def __init__(self, items: int, width: int, attributes: int, pairs: int, sizes: Sequence[int]) -> None:
        super().__init__()
        self.attributes = nn.Embedding(attributes, width) if attributes else None
        if attributes:
            self.register_buffer("flat", torch.zeros(pairs, dtype=torch.int64))
            self.register_buffer("offsets", torch.zeros(items + 1, dtype=torch.int64))
        # No ModuleList: the only one of the network is that of its layers.
        self.maps = nn.ModuleDict({str(place): nn.Linear(size, width, bias=False) for place, size in enumerate(sizes)})
        for place, size in enumerate(sizes):
            self.register_buffer(f"vectors_{place}", torch.zeros(items, size))

    def fill(self, facts: ItemFacts) -> None:
        """Take over what is known of the items."""
        if self.attributes is not None:
            self.flat, self.offsets = torch.from_numpy(facts.flat), torch.from_numpy(facts.offsets)
        for place, table in enumerate(facts.vectors):
            setattr(self, f"vectors_{place}", torch.from_numpy(table))

    def forward(self) -> torch.Tensor:
        parts = [linear(getattr(self, f"vectors_{place}")) for place, linear in self.maps.items()]
        if self.attributes is not None:
            bags = F.embedding_bag(
                self.flat, self.attributes.weight, self.offsets, mode="mean", include_last_offset=True
            )
            parts.append(bags)
        return cast(torch.Tensor, sum(parts[1:], start=parts[0]))
