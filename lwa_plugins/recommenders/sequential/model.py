"""The network of `sequential`, a transformers model: it saves, loads, quantises and takes adapters like any other."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from lwa_core import ModelError
from lwa_core.modeling import EmbeddingByExample
from lwa_plugins.recommenders._fused import Fused
from lwa_plugins.recommenders._sequences import MASK, PADDING
from lwa_plugins.recommenders._transitions import TransitionTable
from lwa_plugins.recommenders.sequential.dropout import Dropout, biased_attention, causal_attention
from lwa_plugins.recommenders.sequential.items import SideInformation, SpecialIds
from lwa_plugins.recommenders.sequential.times import BUCKETS, gap_buckets

WHOLE, ATTENTION, FEED_FORWARD = "whole", "attention", "feed-forward"
"""What of a transformer block a block is."""


class SequentialConfig(PreTrainedConfig):  # type: ignore[misc]  # transformers is untyped
    """Shape of a `SequentialModel`.

    `intermediate_size` and `head_dim` are those of models that were narrowed; `part_types` says of each block which
    part of a transformer block it is.
    """

    model_type = "lwa-sequential"

    items: int = 1
    hidden_size: int = 64
    num_hidden_layers: int = 2
    num_attention_heads: int = 2
    dropout: float = 0.2
    max_length: int = 50
    initializer_range: float = 0.02
    block: str = "pre-norm"
    masked: bool = False
    attributes: int = 0
    attribute_pairs: int = 0
    vector_sizes: tuple[int, ...] | list[int] = ()
    time_bias: bool = False
    item_table: bool = True
    transitions: dict[str, Any] | None = None
    intermediate_size: int | None = None
    head_dim: int | None = None
    part_types: list[str] | None = None

    @property
    def inner_size(self) -> int:
        """Units of a feed-forward."""
        return self.intermediate_size or 4 * self.hidden_size

    @property
    def first_item(self) -> int:
        """Id of the catalogue's first item: behind padding and, where masked items are learnt, the mask."""
        return (MASK if self.masked else PADDING) + 1


class Attention(nn.Module):
    """Multi-head self-attention: causal, or over all keys that `bias` does not hide.

    With a time bias, causal attention adds a number of each head's own to the logit of each key, by the `gaps` between
    their times (examples, queries, keys).
    """

    def __init__(self, config: SequentialConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.dropout = config.dropout
        inner = self.heads * (config.head_dim or config.hidden_size // self.heads)
        self.q_proj = nn.Linear(config.hidden_size, inner)
        self.k_proj = nn.Linear(config.hidden_size, inner)
        self.v_proj = nn.Linear(config.hidden_size, inner)
        self.o_proj = nn.Linear(inner, config.hidden_size)
        self.gap_bias = EmbeddingByExample(BUCKETS, self.heads) if config.time_bias else None

    def forward(
        self, states: torch.Tensor, bias: torch.Tensor | None = None, gaps: torch.Tensor | None = None
    ) -> torch.Tensor:
        if gaps is not None:
            later = torch.ones(gaps.shape[1:], dtype=torch.bool, device=gaps.device).triu(1)
            bias = self._gap_bias(gaps).masked_fill(later, -torch.inf)
        q, k, v = (self._heads(project(states)) for project in (self.q_proj, self.k_proj, self.v_proj))
        dropout = self.dropout if self.training else 0.0
        mixed = causal_attention(q, k, v, dropout) if bias is None else biased_attention(q, k, v, bias, dropout)
        return self._joined(mixed)

    def _gap_bias(self, gaps: torch.Tensor) -> torch.Tensor:
        looked_up: torch.Tensor = cast(EmbeddingByExample, self.gap_bias)(gaps)
        return looked_up.permute(0, 3, 1, 2)  # (examples, heads, queries, keys)

    def at(self, states: torch.Tensor, places: torch.Tensor, gaps: torch.Tensor | None = None) -> torch.Tensor:
        """What `forward` gives at one place of each example (examples, 1, width), of non-causal attention the last.

        Behind the last place is padding, which neither kind of attention sees. One query needs no key and no value of
        any position: q·(K x + b) = (Kᵀ q)·x + q·b, of which the last is the same for all x and falls out of the
        softmax, and Σ a (V x + b) = V Σ a x + b for weights a that add up to 1.
        """
        rows = torch.arange(states.shape[0], device=states.device)
        # (heads, own, width)
        keys, values = (linear.weight.unflatten(0, (self.heads, -1)) for linear in (self.k_proj, self.v_proj))
        q = self.q_proj(states[rows, places]).unflatten(1, (self.heads, -1))
        scores = torch.einsum("nho,how->nhw", q, keys) @ states.transpose(1, 2) * q.shape[2] ** -0.5
        if gaps is not None:  # (examples, 1, keys)
            scores = scores + self._gap_bias(gaps)[:, :, 0]
        behind = torch.arange(states.shape[1], device=states.device) > places[:, None]  # (examples, time)
        looked = scores.masked_fill(behind[:, None], -torch.inf).softmax(dim=2) @ states  # (examples, heads, width)
        mixed = torch.einsum("nhw,how->nho", looked, values).flatten(1) + self.v_proj.bias
        return cast(torch.Tensor, self.o_proj(mixed))[:, None]

    def _heads(self, projected: torch.Tensor) -> torch.Tensor:
        return projected.view(*projected.shape[:2], self.heads, -1).transpose(1, 2)

    def _joined(self, mixed: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.o_proj(mixed.transpose(1, 2).flatten(2)))


class Block(nn.Module):
    """Pre-norm transformer block, h + attention(norm(h)), then h + feed-forward(norm(h)); or one of its parts alone."""

    def __init__(self, config: SequentialConfig, part: str = WHOLE) -> None:
        super().__init__()
        self.part = part
        if part != FEED_FORWARD:
            self.attention_norm = nn.LayerNorm(config.hidden_size)
            self.attention = Attention(config)
        if part != ATTENTION:
            self.feed_forward_norm = nn.LayerNorm(config.hidden_size)
            self.up_proj = nn.Linear(config.hidden_size, config.inner_size)
            self.down_proj = nn.Linear(config.inner_size, config.hidden_size)
        self.dropout = Dropout(config.dropout)

    def forward(
        self, states: torch.Tensor, bias: torch.Tensor | None = None, gaps: torch.Tensor | None = None
    ) -> torch.Tensor:
        if self.part != FEED_FORWARD:
            states = self.attended(states, self.attention(self.attention_norm(states), bias, gaps))
        return states if self.part == ATTENTION else self.fed_forward(states)

    def at(self, states: torch.Tensor, places: torch.Tensor, gaps: torch.Tensor | None = None) -> torch.Tensor:
        """What `forward` gives at one place of each example (examples, width), in eval mode."""
        rows = torch.arange(states.shape[0], device=states.device)
        own = states[rows, places][:, None]
        if self.part != FEED_FORWARD:
            own = self.attended(own, self.attention.at(self.attention_norm(states), places, gaps))
        return (own if self.part == ATTENTION else self.fed_forward(own))[:, 0]

    def attended(self, states: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
        """States with what attention gave for them; position by position."""
        return states + cast(torch.Tensor, self.dropout(mixed))

    def fed_forward(self, states: torch.Tensor) -> torch.Tensor:
        """States with what the feed-forward gives for them; position by position."""
        inner = F.gelu(self.up_proj(self.feed_forward_norm(states)))
        return states + cast(torch.Tensor, self.dropout(self.down_proj(inner)))

    def attention_maps(self) -> tuple[nn.Module, ...]:
        """The maps to keys and values, whose weights `at` uses by themselves."""
        return () if self.part == FEED_FORWARD else (self.attention.k_proj, self.attention.v_proj)


class GatedBlock(Block):
    """Both branches gated by the states that they are added to, and a gated feed-forward (SwiGLU).

    h + σ(W h) ⊙ branch(norm(h)): the block of LiGR (Borisyuk et al. 2025, equation 2), with which deep recommenders go
    on training where plain ones do not; the feed-forward is that of Shazeer 2020, GLU variants improve transformer.
    """

    def __init__(self, config: SequentialConfig, part: str = WHOLE) -> None:
        super().__init__(config, part)
        if part != FEED_FORWARD:
            self.attention_gate = nn.Linear(config.hidden_size, config.hidden_size)
        if part != ATTENTION:
            self.feed_forward_gate = nn.Linear(config.hidden_size, config.hidden_size)
            self.gate_proj = nn.Linear(config.hidden_size, config.inner_size)

    def attended(self, states: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
        return states + torch.sigmoid(self.attention_gate(states)) * cast(torch.Tensor, self.dropout(mixed))

    def fed_forward(self, states: torch.Tensor) -> torch.Tensor:
        normed = self.feed_forward_norm(states)
        inner = self.down_proj(F.silu(self.gate_proj(normed)) * self.up_proj(normed))
        return states + torch.sigmoid(self.feed_forward_gate(states)) * cast(torch.Tensor, self.dropout(inner))


BLOCKS = {"pre-norm": Block, "gated": GatedBlock}


def side_information(config: SequentialConfig) -> SideInformation | None:
    """The part of the network for what is known of items besides their ids, if anything is."""
    if not config.attributes and not config.vector_sizes:
        return None
    sizes = config.vector_sizes
    return SideInformation(config.items, config.hidden_size, config.attributes, config.attribute_pairs, sizes)


def item_embedding(config: SequentialConfig) -> nn.Embedding:
    """A row for every id; without an item table for padding and the mask alone."""
    if not config.item_table:
        return SpecialIds(config.items, config.first_item, config.hidden_size)
    return nn.Embedding(config.items + config.first_item, config.hidden_size, padding_idx=PADDING)


class SequentialModel(PreTrainedModel):  # type: ignore[misc]  # transformers is untyped
    """Item ids (batch, time), 0 for padding on the right -> hidden states (batch, time, width) after the final norm."""

    config_class = SequentialConfig
    base_model_prefix = "model"
    _no_split_modules = ["Block", "GatedBlock"]  # noqa: RUF012 -- transformers reads it as a class attribute
    _supports_sdpa = True

    def __init__(self, config: SequentialConfig) -> None:
        super().__init__(config)
        self.item_embedding = item_embedding(config)
        self.side = side_information(config)
        self.prior = TransitionTable(config.items, config.transitions) if config.transitions else None
        self._fused = Fused()
        self.position_embedding = nn.Embedding(config.max_length, config.hidden_size)
        self.dropout = Dropout(config.dropout)
        parts = config.part_types or [WHOLE] * config.num_hidden_layers
        self.blocks = nn.ModuleList([BLOCKS[config.block](config, part) for part in parts])
        self.norm = nn.LayerNorm(config.hidden_size)
        self.post_init()
        self._scale_residual_branches()

    def _scale_residual_branches(self) -> None:
        """Shrink what each branch first adds by 1/√branches, as GPT-2 does, so that deep models start out calm."""
        ends = ("o_proj.weight", "down_proj.weight")
        branches = [weight for name, weight in self.blocks.named_parameters() if name.endswith(ends)]
        with torch.no_grad():
            for weight in branches:
                weight.mul_(len(branches) ** -0.5)

    def get_input_embeddings(self) -> nn.Module:
        """The item table; row 0 is padding."""
        return self.item_embedding

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the item table."""
        self.item_embedding = value

    def train(self, mode: bool = True) -> SequentialModel:
        """Set training or eval mode; a table that is kept while in eval mode is forgotten."""
        self._fused = Fused()
        return cast(SequentialModel, super().train(mode))

    def item_table(self) -> torch.Tensor:
        """What states are multiplied with to score the catalogue's items (items, width)."""
        return self._table()[self.config.first_item :]

    def special_rows(self) -> torch.Tensor:
        """What stands for the ids of no item in the input: padding, and the mask (ids, width)."""
        return self._table()[: self.config.first_item]

    def _table(self) -> torch.Tensor:
        """Embeddings of all ids with what is known of the items besides (ids, width)."""
        own = self.item_embedding.weight
        if self.side is None:
            return own
        sources = [own, *self.side.parameters(), *self.side.buffers()]
        if self.training or (torch.is_grad_enabled() and any(source.requires_grad for source in sources)):
            return self._with_side(own)
        if not self._fused.is_of(sources):
            with torch.inference_mode(False), torch.no_grad():
                self._fused.keep(self._with_side(own), sources)
        return cast(torch.Tensor, self._fused.table)

    def _with_side(self, own: torch.Tensor) -> torch.Tensor:
        known = cast(SideInformation, self.side)()
        if not self.config.item_table:
            return torch.cat([own, known])
        return own + F.pad(known, (0, 0, self.config.first_item, 0))

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
            if module.padding_idx is not None:
                nn.init.zeros_(module.weight[module.padding_idx])
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)

    def forward(self, input_ids: torch.Tensor, times: torch.Tensor | None = None) -> BaseModelOutput:
        states = self._embedded(input_ids)
        seen = self._seen(input_ids, times, states.dtype)
        for block in self.blocks:
            states = block(states, *seen)
        return BaseModelOutput(last_hidden_state=self.norm(states))

    def at(self, input_ids: torch.Tensor, places: torch.Tensor, times: torch.Tensor | None = None) -> torch.Tensor:
        """What `forward` gives at one place of each example (examples, width), in eval mode."""
        states = self._embedded(input_ids)
        seen = self._seen(input_ids, times, states.dtype)
        for block in self.blocks[:-1]:
            states = block(states, *seen)
        gaps = self.gaps_at(places, times)
        return cast(torch.Tensor, self.norm(cast(Block, self.blocks[-1]).at(states, places, gaps)))

    def gaps_at(self, places: torch.Tensor, times: torch.Tensor | None) -> torch.Tensor | None:
        """Gaps between one place of each example and all (examples, 1, time), where the model looks at times."""
        if not self.config.time_bias or times is None:
            return None
        return gap_buckets(times.gather(1, places[:, None]), times)

    def has_plain_weights(self) -> bool:
        """Whether its last block is one of ours, with weights neither in 4 bits nor with adapters beside them."""
        last = self.blocks[-1] if len(self.blocks) else None
        if not isinstance(last, Block) or type(last) not in BLOCKS.values():
            return False
        return all(type(linear) is nn.Linear for linear in last.attention_maps())

    def can_be_asked_at(self) -> bool:
        """Whether `at` is what `forward` gives: the last block is plain, and nobody listens to it or to the model."""
        if self.training or not self.has_plain_weights():
            return False
        last = self.blocks[-1]
        bypassed: list[nn.Module] = [self, *last.modules()]
        return not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in bypassed)

    def _seen(
        self, input_ids: torch.Tensor, times: torch.Tensor | None, dtype: torch.dtype
    ) -> tuple[torch.Tensor | None, ...]:
        """What the blocks get besides states: of non-causal attention a bias that hides padding, or gaps in time."""
        if self.config.time_bias:
            if times is None:
                raise ModelError("the model looks at the times of events, and was called without any")
            return None, gap_buckets(times, times)
        if not self.config.masked:
            return ()  # a real position never sees the padding behind it
        hidden = (input_ids == PADDING)[:, None, None]
        return (torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill(hidden, -torch.inf),)

    def _embedded(self, input_ids: torch.Tensor) -> torch.Tensor:
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        if self.side is None:
            items = self.item_embedding(input_ids)
        else:
            items = F.embedding(input_ids, self._table(), padding_idx=PADDING)
        return cast(torch.Tensor, self.dropout(items + self.position_embedding(positions)))


AutoConfig.register(SequentialConfig.model_type, SequentialConfig)
AutoModel.register(SequentialConfig, SequentialModel)
