"""The network of `backbone`: item embeddings, a transformer of some family that is called with them, projections."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from lwa_plugins.recommenders._sequences import MASK, PADDING
from lwa_plugins.recommenders.backbone.families import FAMILIES
from lwa_plugins.recommenders.sequential.dropout import Dropout


class BackboneConfig(PreTrainedConfig):  # type: ignore[misc]  # transformers is untyped
    """Shape of a `BackboneModel`; `transformer_config` is the configuration of the transformer inside."""

    model_type = "lwa-backbone"
    sub_configs = {"transformer_config": AutoConfig}  # noqa: RUF012 -- transformers reads it as a class attribute

    items: int = 1
    item_width: int = 64
    dropout: float = 0.0
    initializer_range: float = 0.02
    transformer_config: dict[str, Any] | PreTrainedConfig | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        if isinstance(self.transformer_config, dict):
            values = dict(self.transformer_config)
            self.transformer_config = AutoConfig.for_model(values.pop("model_type"), **values)
        super().__post_init__(**kwargs)

    @property
    def family(self) -> str:
        """The `model_type` of the transformer inside."""
        return cast(str, cast(Any, self.transformer_config).model_type)

    @property
    def bidirectional(self) -> bool:
        """Whether every position sees all others."""
        return FAMILIES[self.family].bidirectional

    @property
    def first_item(self) -> int:
        """Id of the catalogue's first item: behind padding and, where every position sees all others, the mask."""
        return MASK + 1 if self.bidirectional else PADDING + 1


class BackboneModel(PreTrainedModel):  # type: ignore[misc]  # transformers is untyped
    """Item ids (batch, time), 0 for padding on the right -> states (batch, time, item_width) to score items with."""

    config_class = BackboneConfig
    base_model_prefix = "model"
    _supports_sdpa = True

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__(config)
        inner: Any = config.transformer_config
        pooled = {"add_pooling_layer": False} if config.family == "bert" else {}
        self.transformer = AutoModel.from_config(inner, **pooled)
        self.item_embedding = self.make_item_embedding()
        self.dropout = Dropout(config.dropout)
        wide, narrow = inner.hidden_size, config.item_width
        self.project_in: nn.Module = nn.Linear(narrow, wide) if wide != narrow else nn.Identity()
        self.project_out: nn.Module = nn.Linear(wide, narrow) if wide != narrow else nn.Identity()
        self.post_init()

    def make_item_embedding(self) -> nn.Module:
        """What gives ids their vectors."""
        config = self.config
        return nn.Embedding(config.items + config.first_item, config.item_width, padding_idx=PADDING)

    def get_input_embeddings(self) -> nn.Module:
        """The item table; row 0 is padding."""
        return self.item_embedding

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the item table."""
        self.item_embedding = value

    def item_table(self) -> torch.Tensor:
        """Embeddings of the catalogue's items (items, item_width)."""
        table: torch.Tensor = cast(Any, self.item_embedding).weight
        return table[self.config.first_item :]

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Linear):  # a projection: what goes through it keeps its size
            nn.init.normal_(module.weight, std=module.in_features**-0.5)

    def forward(self, input_ids: torch.Tensor) -> BaseModelOutput:
        states = self.project_in(self.dropout(self.item_embedding(input_ids)))
        # Causal attention needs no mask: a real position never sees the padding behind it.
        seen = {"attention_mask": (input_ids != PADDING).long()} if self.config.bidirectional else {}
        states = self.transformer(inputs_embeds=states, **seen).last_hidden_state
        return BaseModelOutput(last_hidden_state=self.project_out(states))


def transformer_config(family: str, values: dict[str, Any], dropout: float) -> PreTrainedConfig:
    """The configuration of the transformer inside, from its keys."""
    values = {**values, **FAMILIES[family].dropout(dropout), "dtype": "float32"}
    if not FAMILIES[family].bidirectional:
        values["use_cache"] = False
    return AutoConfig.for_model(family, **values)


AutoConfig.register(BackboneConfig.model_type, BackboneConfig)
AutoModel.register(BackboneConfig, BackboneModel)
