"""The table of transitions as a model of transformers, so that it is saved, loaded and served like any other."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel

from lwa_plugins.recommenders._transitions import TransitionTable


class TransitionsConfig(PreTrainedConfig):  # type: ignore[misc]  # transformers is untyped
    """Sizes and settings of a `TransitionsModel`."""

    model_type = "lwa-transitions"

    items: int = 1
    transitions: dict[str, Any] | None = None
    num_hidden_layers: int = 0


class TransitionsModel(PreTrainedModel):  # type: ignore[misc]  # transformers is untyped
    """Catalogue indices of the last items (rows, seen), −1 for none -> scores of all items (rows, items)."""

    config_class = TransitionsConfig
    base_model_prefix = "model"

    def __init__(self, config: TransitionsConfig) -> None:
        super().__init__(config)
        self.table = TransitionTable(config.items, config.transitions) if config.transitions else None
        self.layers = nn.ModuleList()
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing is drawn."""

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        assert self.table is not None
        scores: torch.Tensor = self.table(ids) * self.table.scale
        return scores


AutoConfig.register(TransitionsConfig.model_type, TransitionsConfig)
AutoModel.register(TransitionsConfig, TransitionsModel)
