"""The network of `text`: that of `backbone`, with item embeddings that are a linear map of fixed vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoConfig, AutoModel

from lwa_core import History
from lwa_plugins.recommenders._sequences import MASK, PADDING
from lwa_plugins.recommenders.backbone.model import BackboneConfig, BackboneModel


class TextBackboneConfig(BackboneConfig):
    """Shape of a `TextBackboneModel`; `text_width` is the size of the vectors of titles."""

    model_type = "lwa-text"

    text_width: int = 64


class TitleEmbedding(nn.Module):
    """Ids of items (...,) -> embeddings (..., width) by a linear map of their vectors; padding gives zeros.

    Args:
        items: How many there are.
        text_width: Size of the vectors.
        width: Of the embeddings.
        first_item: Id of the catalogue's first item; where it is not 1 there is a mask, whose embedding is learnt.
    """

    vectors: torch.Tensor
    learnt: torch.Tensor

    def __init__(self, items: int, text_width: int, width: int, first_item: int) -> None:
        super().__init__()
        self.first_item = first_item
        self.register_buffer("vectors", torch.zeros(items + first_item, text_width))
        self.register_buffer("learnt", torch.ones(items, dtype=torch.bool))
        self.project = nn.Linear(text_width, width)
        self.mask = nn.Embedding(1, width) if first_item > PADDING + 1 else None
        self._made: tuple[Any, torch.Tensor] | None = None

    @property
    def num_embeddings(self) -> int:
        """How many ids there are."""
        return len(self.vectors)

    @property
    def known(self) -> torch.Tensor:
        """The vectors of the catalogue's items (items, text_width)."""
        return self.vectors[self.first_item :]

    def know(self, vectors: torch.Tensor) -> None:
        """Take the vectors of the catalogue's items (items, text_width)."""
        self.known.copy_(vectors)

    def learn_of(self, sequences: Sequence[History]) -> None:
        """Note which items occur in training, as `learnt` (items,)."""
        seen = np.unique(np.concatenate([*sequences, np.zeros(0, dtype=np.int32)])).astype(np.int64)
        self.learnt.zero_()
        self.learnt[torch.from_numpy(seen).to(self.learnt.device)] = True

    def table(self) -> torch.Tensor:
        """Embeddings of the catalogue's items (items, width); in eval mode made once, until a weight changes."""
        state = [(id(tensor), tensor._version) for tensor in (*self.parameters(), self.vectors)]
        if self._made is not None and self._made[0] == state and not torch.is_grad_enabled():
            return self._made[1]
        made: torch.Tensor = self.project(self.known)
        if not self.training and not torch.is_grad_enabled():
            self._made = state, made
        return made

    def train(self, mode: bool = True) -> TitleEmbedding:
        self._made = None
        super().train(mode)
        return self

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        states = self.project(self.vectors[ids])
        if self.mask is not None:
            states = torch.where(ids[..., None] == MASK, self.mask.weight[0], states)
        embedded: torch.Tensor = states * (ids != PADDING)[..., None]
        return embedded


class TextBackboneModel(BackboneModel):
    """Item ids (batch, time), 0 for padding on the right -> states (batch, time, item_width) to score items with."""

    config_class = TextBackboneConfig

    def make_item_embedding(self) -> nn.Module:
        config = self.config
        return TitleEmbedding(config.items, config.text_width, config.item_width, config.first_item)

    def item_table(self) -> torch.Tensor:
        items: Any = self.item_embedding
        table: torch.Tensor = items.table()
        return table

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, TitleEmbedding):  # of vectors of unit variance it makes what fresh embeddings are
            nn.init.normal_(module.project.weight, std=self.config.initializer_range * module.project.in_features**-0.5)


def tell_apart(vectors: torch.Tensor) -> Iterator[tuple[str, str]]:
    """What to warn of where items (items, text_width) cannot be told apart by their vectors: code and message."""
    blank = ~vectors.any(dim=1)
    lacking, items = int(blank.sum()), len(vectors)
    if lacking:
        said = f"{lacking} of {items} items have no title: all of them have one and the same embedding"
        yield "no-title", said
    titled = vectors[~blank]
    doubles = len(titled) - len(torch.unique(titled, dim=0))
    if doubles:
        said = f"{doubles} of {items} items have the title of another item, as far as it was read: they rank together"
        yield "same-title", said


AutoConfig.register(TextBackboneConfig.model_type, TextBackboneConfig)
AutoModel.register(TextBackboneConfig, TextBackboneModel)
