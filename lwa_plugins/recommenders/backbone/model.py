"""The network of `backbone`: item embeddings, a transformer of some family that is called with them, projections."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from lwa_core.errors import ModelError
from lwa_core.modeling.layered import find_blocks
from lwa_core.modeling.saving import quiet_transformers
from lwa_plugins.recommenders._sequences import MASK, PADDING
from lwa_plugins.recommenders.backbone.families import FAMILIES, NO_WORDS
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
        self.item_embedding = nn.Embedding(config.items + config.first_item, config.item_width, padding_idx=PADDING)
        self.dropout = Dropout(config.dropout)
        wide, narrow = inner.hidden_size, config.item_width
        self.project_in: nn.Module = nn.Linear(narrow, wide) if wide != narrow else nn.Identity()
        self.project_out: nn.Module = nn.Linear(wide, narrow) if wide != narrow else nn.Identity()
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The item table; row 0 is padding."""
        return self.item_embedding

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the item table."""
        self.item_embedding = value

    def item_table(self) -> torch.Tensor:
        """Embeddings of the catalogue's items (items, item_width)."""
        return self.item_embedding.weight[self.config.first_item :]

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


def read_pretrained(folder: Path, family: str, max_length: int) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Configuration, as keys, and weights of a checkpoint, both without its words.

    Local files only, no remote code, safetensors only. A head for words or classes is left out.

    Raises:
        ModelError: There is none of this family, it knows fewer positions than `max_length`, or weights lack.
    """
    if not (folder / "config.json").is_file():
        raise ModelError(f"no pretrained model in {folder}: config.json is missing")
    try:
        with quiet_transformers():
            config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            _assert_fits(config, folder, family, max_length)
            model, info = AutoModel.from_pretrained(
                folder,
                config=config,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they come back in `info`
                dtype=torch.float32,
                **({"add_pooling_layer": False} if family == "bert" else {}),
            )
    except ModelError:
        raise
    except Exception as error:  # transformers and safetensors raise many kinds for a bad folder
        raise ModelError(f"cannot load the pretrained model in {folder}: {error}") from error
    lacking = sorted(map(str, [*info["missing_keys"], *info["mismatched_keys"]]))
    blocks = f".{find_blocks(model)}."
    left = sorted(key for key in map(str, info["unexpected_keys"]) if blocks in f".{key}")
    if lacking or left:
        raise ModelError(f"the weights in {folder} do not fit its config.json: {[*lacking, *left]}")
    words = {id(parameter) for parameter in model.get_input_embeddings().parameters()}
    weights = {name: value for name, value in model.state_dict(keep_vars=True).items() if id(value) not in words}
    values = {name: value for name, value in config.to_dict().items() if name not in ("model_type", "architectures")}
    return {**values, **NO_WORDS}, {name: value.detach() for name, value in weights.items()}


def fill(model: BackboneModel, weights: dict[str, torch.Tensor]) -> None:
    """Put pretrained weights into the transformer; all that it has but the one row of words must be there.

    Raises:
        ModelError: Other weights are there than it has.
    """
    has = model.transformer.state_dict(keep_vars=True)
    words = {id(parameter) for parameter in model.transformer.get_input_embeddings().parameters()}
    wanted = {name for name, value in has.items() if id(value) not in words}
    if odd := wanted ^ set(weights):
        raise ModelError(f"the pretrained weights do not fit a {type(model.transformer).__name__}: {sorted(odd)}")
    model.transformer.load_state_dict(weights, strict=False)


def _assert_fits(config: Any, folder: Path, family: str, max_length: int) -> None:
    if config.model_type != family:
        raise ModelError(f"the model in {folder} is a {config.model_type}, not a {family}", "change `family`")
    if getattr(config, "quantization_config", None) is not None:
        raise ModelError(f"the model in {folder} is quantised", "give it in full precision")
    positions = getattr(config, FAMILIES[family].sizes[-1])
    if max_length > positions:
        raise ModelError(f"the model in {folder} knows {positions} positions, not {max_length}", "lower max_length")


AutoConfig.register(BackboneConfig.model_type, BackboneConfig)
AutoModel.register(BackboneConfig, BackboneModel)
