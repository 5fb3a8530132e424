"""`sequential`: a transformer over item ids, trained on next or on masked items."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import attrs

from lwa_core import setting
from lwa_plugins.recommenders._windows import WindowOptions

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from lwa_core import Batch, Catalogue, ExportedParts, FittedTransitions, History, Losses, Reporter


@attrs.frozen
class Sequential(WindowOptions):
    """A transformer over item ids (SASRec with pre-norm blocks), scored against tied item embeddings.

    It learns the next item at every position, with causal attention, or items that were replaced by a mask, with
    attention to all items (BERT4Rec), and is then asked with a mask behind the history. Inside the model item i of the
    catalogue has id i + 1, and 0 is padding; a mask has id 1 and moves the items by one. Sequences are padded on the
    right, so that causal attention needs no mask of its own: a real position never sees padding.
    """

    layers: int = setting(2, help="transformer blocks of the full model", minimum=1)
    width: int = setting(64, help="size of the hidden states and item embeddings", minimum=4)
    heads: int = setting(2, help="attention heads; must divide the width", minimum=1)
    block: str = setting(
        "pre-norm",
        help="pre-norm: the plain transformer block; gated: branches with gates, with which deep models train better",
        choices=("pre-norm", "gated"),
    )
    units: str = setting(
        "layers",
        help="what is scored and removed: whole layers, or their parts, of which each layer has two: attention and "
        "feed-forward",
        choices=("layers", "parts"),
    )
    objective: str = setting(
        "next-item",
        help="next-item: at every position, causal; masked: items that were replaced by a mask, from both sides",
        choices=("next-item", "masked"),
    )
    mask_share: float = setting(0.2, help="chance of an item to be masked in training", above=0, maximum=1)
    dropout: float = setting(0.2, help="dropout after embeddings, attention and feed-forward", minimum=0, maximum=0.9)
    max_length: int = setting(
        50, help="longest history the model sees, a mask included; older items are cut off", minimum=1
    )
    training_loss: str = setting(
        "cross-entropy",
        help="cross-entropy over all items; sampled: over the target and `negatives` items, the same for a batch, with "
        "logQ correction; gbce: binary, against `negatives` items drawn for each sequence (gSASRec)",
        choices=("cross-entropy", "sampled", "gbce"),
    )
    negatives: int = setting(256, help="items that training_loss sampled or gbce draws", minimum=1)
    calibration_t: float = setting(
        0.75, help="t of gbce: 0 is plain binary cross-entropy, 1 undoes all its overconfidence", minimum=0, maximum=1
    )
    times: bool = setting(
        False, help="let attention depend on the time between events, by a bias of each head and layer (HSTU)"
    )
    categories: bool = setting(False, help="embed the categories that the data gives of each item, with the item")
    attributes: str = setting(
        "", help='JSON file of item attributes, {"id": ["attribute", ...]}, to embed with each item', path=True
    )
    vectors: tuple[str, ...] = setting(
        (),
        help="files of item vectors, such as embeddings of texts or images, mapped into the item embeddings: "
        ".safetensors or .npy, beside each a .json or .jsonl of the same name with the item ids",
        path=True,
    )
    item_table: bool = setting(
        True,
        help="whether items have embeddings of their own; false: they are what is known of them (vectors, attributes, "
        "categories), so that items without training events are ranked by that",
    )
    prior: str = setting(
        "none",
        help="transitions: scores are those of the untrained table of transitions, to which the network adds; a loss "
        "at a training position leaves out what its own sequence added to the table",
        choices=("none", "transitions"),
    )
    checkpoint: str = setting(
        "",
        help="folder of a saved model to go on from instead of fresh weights; layers and all sizes are its own, items "
        "are found in it by their ids, and those that it does not know are new to it",
        path=True,
    )

    @property
    def masked(self) -> bool:
        """Whether it learns masked items instead of next ones."""
        return self.objective == "masked"

    def __attrs_post_init__(self) -> None:
        self.assert_all_covered(self.max_length)
        if self.masked and self.max_length < 2:
            raise ValueError("max_length must be at least 2 where the last place is the mask's")
        if self.masked and self.times:
            raise ValueError("times = true needs objective = 'next-item': an item to be predicted has no time")
        if self.width % self.heads:
            raise ValueError(f"heads must divide width, and {self.heads} does not divide {self.width}")
        if self.uses_transitions and self.masked:
            raise ValueError("prior = 'transitions' needs objective = 'next-item': the table looks at what came before")
        if self.uses_transitions and self.training_loss == "gbce":
            raise ValueError("prior = 'transitions' needs training_loss = 'cross-entropy' or 'sampled'")
        if self.checkpoint and (self.categories or self.attributes):
            raise ValueError("a checkpoint has its own attributes: leave categories and attributes out")
        if not (self.item_table or self.checkpoint or self.has_side):
            raise ValueError("item_table = false needs vectors, attributes or categories, which stand for the items")

    @property
    def depth(self) -> int | None:
        """How many layers the full model has; of a checkpoint, what its configuration says."""
        from lwa_core.modeling import depth_of_folder

        if not self.checkpoint:
            return self.block_count
        return None if self.by_parts else depth_of_folder(Path(self.checkpoint))

    @property
    def block_count(self) -> int:
        """How many blocks a new model has."""
        return self.layers * (2 if self.by_parts else 1)

    @property
    def by_parts(self) -> bool:
        """Whether attention and feed-forward are blocks of their own."""
        return self.units == "parts"

    @property
    def uses_times(self) -> bool:
        """Whether it needs histories with times."""
        return self.times

    @property
    def uses_transitions(self) -> bool:
        """Whether its scores begin from the table of transitions."""
        return self.prior == "transitions"

    @property
    def has_side(self) -> bool:
        """Whether items are known by more than their ids."""
        return self.categories or bool(self.attributes or self.vectors)

    def files(self) -> list[Path]:
        """Every file that `build` reads of items. Raises DataError if one lacks."""
        from lwa_plugins.recommenders._item_files import files_of

        return files_of(self.attributes, self.vectors)

    def build(self, catalogue: Catalogue, report: Reporter) -> torch.nn.Module:
        from lwa_plugins.recommenders._item_files import item_facts
        from lwa_plugins.recommenders.sequential.continuing import continued
        from lwa_plugins.recommenders.sequential.model import (
            ATTENTION,
            FEED_FORWARD,
            SequentialConfig,
            SequentialModel,
        )

        if self.checkpoint:
            return continued(self, catalogue, report)
        facts = None
        if self.has_side:
            facts = item_facts(catalogue, self.categories, self.attributes, self.vectors, report)
        config = SequentialConfig(
            items=len(catalogue),
            hidden_size=self.width,
            num_hidden_layers=self.block_count,
            part_types=[ATTENTION, FEED_FORWARD] * self.layers if self.by_parts else None,
            num_attention_heads=self.heads,
            block=self.block,
            dropout=self.dropout,
            max_length=self.max_length,
            masked=self.masked,
            time_bias=self.times,
            item_table=self.item_table,
            **({} if facts is None else facts.sizes),
        )
        model: Any = SequentialModel(config)
        if facts is not None:
            model.side.fill(facts)
        return cast("torch.nn.Module", model)

    def with_transitions(
        self, model: torch.nn.Module, table: FittedTransitions, sequences: Sequence[History]
    ) -> torch.nn.Module:
        """The table's scores become logits by a factor, at first that of the highest likelihood, which is learnt on."""
        from lwa_plugins.recommenders.sequential.prior import put_in

        return put_in(self, model, table, sequences)

    def weigh_network(self, model: torch.nn.Module, factor: float) -> None:
        import torch

        norm = cast(Any, model).norm
        with torch.no_grad():
            norm.weight.mul_(factor)
            norm.bias.mul_(factor)

    def load(self, folder: Path) -> torch.nn.Module:
        from lwa_core import load_pretrained
        from lwa_plugins.recommenders.sequential.model import SequentialModel

        return load_pretrained(SequentialModel, folder)

    def training_windows(self, sequences: Sequence[History]) -> list[History]:
        """As `windows` says, each with `max_length` inputs at most."""
        return self.cut(sequences, self.max_length, self.masked)

    def training_batch(self, windows: Sequence[History]) -> Batch:
        from lwa_plugins.recommenders._sequences import masked_batch, next_item_batch
        from lwa_plugins.recommenders.sequential.times import padded_times

        if self.masked:
            return masked_batch(windows, self.mask_share, self.last_alone)
        batch = next_item_batch(windows, self.last_alone)
        return batch if not self.times else {**batch, "times": padded_times(windows)[:, :-1]}

    def example_batch(self, histories: Sequence[History], targets: NDArray[np.int64] | None = None) -> Batch:
        import torch

        from lwa_plugins.recommenders._sequences import asking_batch, asking_by_mask, padded
        from lwa_plugins.recommenders.sequential.times import padded_times

        if self.masked:
            return asking_by_mask(histories, self.max_length, targets)
        newest = [history[-self.max_length :] for history in histories]
        batch = asking_batch(torch.from_numpy(padded(newest)), targets)
        return batch if not self.times else {**batch, "times": padded_times(newest)}

    def loss(self, model: torch.nn.Module, batch: Batch) -> Losses:
        """In training the `training_loss`; in eval mode always full cross-entropy, by which layers are judged."""
        from lwa_plugins.recommenders._sequences import losses_by_example

        valid = batch["labels"] > 0
        losses = self._training_losses(model, batch, valid) if model.training else self._cross_entropy(model, batch)
        return losses_by_example(losses, valid)

    def _cross_entropy(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        from lwa_core.modeling import cross_entropy

        hidden, targets = self.encode(model, batch)
        hidden, *prior = _split(model, hidden)
        return cross_entropy(hidden, _item_table(model), targets, *prior)

    def _training_losses(self, model: torch.nn.Module, batch: Batch, valid: torch.Tensor) -> torch.Tensor:
        import torch

        from lwa_plugins.recommenders.sequential.losses import gbce, sampled_softmax

        if self.training_loss == "cross-entropy":
            return self._cross_entropy(model, batch)
        table, labels = _item_table(model), batch["labels"]
        if self.training_loss == "sampled":
            hidden, targets = self.encode(model, batch)
            negatives = torch.randperm(len(table), device=table.device)[: self.negatives]
            hidden, *prior = _split(model, hidden)
            return sampled_softmax(hidden, table, targets, negatives, *prior)
        negatives = torch.randint(len(table), (len(labels), self.negatives), device=table.device)
        states = model(**_inputs(batch)).last_hidden_state
        return gbce(states, table, (labels - 1).clamp(min=0), negatives, self.calibration_t)[valid]

    def scores(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        import torch

        from lwa_plugins.recommenders.sequential.model import SequentialModel

        if type(model) is SequentialModel and model.can_be_asked_at():
            states = model.at(batch["input_ids"], batch["last"], batch.get("times"))
        else:
            hidden = model(**_inputs(batch)).last_hidden_state
            states = hidden[torch.arange(len(hidden), device=hidden.device), batch["last"]]
        return self.head(model, _at_last(model, states, batch))

    def encode(self, model: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """With a prior the ids that it looks at are behind the states, as `_transitions.with_ids` puts them."""
        hidden = model(**_inputs(batch)).last_hidden_state
        valid = batch["labels"] > 0
        states = hidden[valid]
        if cast(Any, model).prior is not None:
            from lwa_plugins.recommenders._transitions import with_ids
            from lwa_plugins.recommenders.sequential.prior import ids_at_targets

            states = with_ids(states, ids_at_targets(model, batch, valid))
        return states, batch["labels"][valid] - 1

    def head(self, model: torch.nn.Module, hidden: torch.Tensor) -> torch.Tensor:
        import torch

        from lwa_core.modeling import product

        table = _item_table(model)
        hidden, *prior = _split(model, hidden)
        hidden = hidden.to(table.dtype)
        logits = hidden @ table.T if torch.is_grad_enabled() else product(hidden, table)
        if prior:
            known, scale = prior
            logits = logits + scale * known(slice(None))
        return logits

    def parts(self, model: torch.nn.Module) -> ExportedParts:
        from lwa_plugins.recommenders.sequential.exported import parts_of

        return parts_of(model)

    def has_fast_tail(self, model: torch.nn.Module) -> bool:
        """Where the blocks' weights are plain: not 4-bit, and without an adapter."""
        from torch import nn

        from lwa_plugins.recommenders.sequential.model import Attention, SequentialModel

        attentions = [module for module in model.modules() if isinstance(module, Attention)]
        maps = [linear for attention in attentions for linear in (attention.k_proj, attention.v_proj)]
        return type(model) is SequentialModel and all(type(linear) is nn.Linear for linear in maps)

    def tail(self, model: torch.nn.Module, states: torch.Tensor, batch: Batch) -> torch.Tensor:
        import torch

        rows = torch.arange(len(states), device=states.device)
        return _at_last(model, model.norm(states[rows, batch["last"]]), batch)  # type: ignore[operator]

    def last_layer(
        self, model: torch.nn.Module, layer: torch.nn.Module, states: torch.Tensor, batch: Batch
    ) -> torch.Tensor:
        last, inner = batch["last"], cast(Any, model)
        gaps = inner.gaps_at(last, batch.get("times"))
        return _at_last(model, inner.norm(cast(Any, layer).at(states, last, gaps)), batch)


def _inputs(batch: Batch) -> Batch:
    """What the network is called with."""
    return {name: batch[name] for name in ("input_ids", "times") if name in batch}


def _item_table(model: Any) -> torch.Tensor:
    """Embeddings of the catalogue's items (items, width)."""
    table: torch.Tensor = model.item_table()
    return table


def _at_last(model: torch.nn.Module, states: torch.Tensor, batch: Batch) -> torch.Tensor:
    """States at the last place of each example (examples, width), with what the prior is asked by."""
    if cast(Any, model).prior is None:
        return states
    from lwa_plugins.recommenders._transitions import with_ids
    from lwa_plugins.recommenders.sequential.prior import ids_at_last

    return with_ids(states, ids_at_last(model, batch))


def _split(model: torch.nn.Module, hidden: torch.Tensor) -> tuple[Any, ...]:
    """States alone, and where there is a prior its scores of all items at some of the rows, and their factor."""
    prior = cast(Any, model).prior
    if prior is None:
        return (hidden,)
    from lwa_plugins.recommenders._transitions import split_ids

    states, ids = split_ids(hidden, cast(Any, model).config.hidden_size, prior.items)
    return states, lambda rows: prior.logits(ids[rows]), prior.scale
