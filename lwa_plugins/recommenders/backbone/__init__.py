"""`backbone`: a transformer of a known family, fresh or pretrained, over item embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import attrs

from lwa_core import setting
from lwa_plugins.recommenders._windows import WindowOptions
from lwa_plugins.recommenders.backbone.families import FAMILIES, fresh_values

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from lwa_core import Batch, Catalogue, ExportedParts, History, Losses, Reporter


@attrs.frozen
class Backbone(WindowOptions):
    """A transformer of a known family reads item embeddings instead of words; items are scored by the same embeddings.

    Item embeddings are projected to the width of the transformer, and its states back, as in E4SRec, which takes the
    embeddings of a trained SASRec and trains adapters; here embeddings and transformer are trained, the latter as
    `train` says. The loss is cross-entropy over the whole catalogue. Causal families learn the next item at
    every position, as `sequential` does; `bert` and `modernbert` learn items that were replaced by a mask, and are
    asked with a mask behind the history (BERT4Rec).

    The first layer of `modernbert` cannot be removed: it alone has no norm before its attention. `qlora` does not take
    `gpt2`, whose layers have linear maps of another kind than torch's.
    """

    family: str = setting("llama", help="`model_type` of the transformer in transformers", choices=tuple(FAMILIES))
    layers: int = setting(2, help="transformer blocks of the full model", minimum=1)
    width: int = setting(64, help="size of the transformer's hidden states", minimum=4)
    heads: int = setting(2, help="attention heads; must divide the width", minimum=1)
    item_width: int = setting(
        0, help="size of the item embeddings; 0: the transformer's, without projections", minimum=0
    )
    dropout: float = setting(
        0.2, help="dropout after the item embeddings and where the family has it", minimum=0, maximum=0.9
    )
    max_length: int = setting(
        50, help="longest input of the model, the mask included; older items are cut off", minimum=2
    )
    pretrained: str = setting(
        "",
        help="folder of a checkpoint of the family (safetensors) to start from; layers, width and heads are its own",
        path=True,
    )
    train: str = setting(
        "all",
        help="all: every weight; projections: item embeddings and projections only, while the full model is trained; "
        "the pretrained transformer stays as it is; lora: these and low-rank adapters in its layers, which are merged "
        "into its weights when it is trained",
        choices=("all", "projections", "lora"),
    )
    rank: int = setting(8, help="rank of the adapters, of lora", minimum=1)
    alpha: float = setting(16.0, help="adapters are scaled by alpha / rank, of lora", above=0)
    four_bit: bool = setting(
        False, help="hold the layers' weights in 4 bits (NF4) while adapters are trained on them, of lora"
    )
    masking: float = setting(
        0.3, help="chance of an item to be masked in training, of bert and modernbert", above=0, maximum=1
    )

    def __attrs_post_init__(self) -> None:
        self.assert_all_covered(self.max_length)
        if self.train != "all" and not self.pretrained:
            raise ValueError(f"train = '{self.train}' would leave the transformer untrained: give `pretrained`")
        if self.four_bit and self.train != "lora":
            raise ValueError("four_bit = true needs train = 'lora': 4-bit weights themselves cannot be trained")
        if self.train == "lora" and self.family == "gpt2":
            raise ValueError("train = 'lora' does not take gpt2, whose layers have no torch.nn.Linear")
        if self.pretrained:
            return
        if self.width % self.heads:
            raise ValueError(f"heads must divide width, and {self.heads} does not divide {self.width}")
        if FAMILIES[self.family].rotary and self.width // self.heads % 2:
            raise ValueError(f"width / heads must be even for {self.family}, and is {self.width // self.heads}")

    @property
    def depth(self) -> int | None:
        """How many layers the full model has; of a pretrained one, what its configuration says."""
        from lwa_core.modeling import depth_of_folder

        return depth_of_folder(Path(self.pretrained)) if self.pretrained else self.layers

    @property
    def masked(self) -> bool:
        """Whether it learns masked items instead of next ones."""
        return FAMILIES[self.family].bidirectional

    def build(self, catalogue: Catalogue, report: Reporter) -> torch.nn.Module:
        from lwa_plugins.recommenders.backbone.model import BackboneModel

        return self.built(BackboneModel, items=len(catalogue))

    def built(self, cls: Any, **shape: Any) -> torch.nn.Module:
        """A fresh model of class `cls`, `shape` being what its configuration says besides."""
        from lwa_plugins.recommenders.backbone.model import transformer_config
        from lwa_plugins.recommenders.backbone.pretrained import fill, read_pretrained

        if self.pretrained:
            values, weights = read_pretrained(Path(self.pretrained), self.family, self.max_length)
        else:
            values, weights = fresh_values(self.family, self.layers, self.width, self.heads, self.max_length), None
        inner: Any = transformer_config(self.family, values, self.dropout)
        config = cls.config_class(
            item_width=self.item_width or inner.hidden_size,
            dropout=0.0 if FAMILIES[self.family].drops_inputs else self.dropout,
            transformer_config=inner,
            **shape,
        )
        model = cls(config)
        if weights is not None:
            fill(model, weights)
        if self.train == "projections":
            model.transformer.requires_grad_(False)
        return cast("torch.nn.Module", model)

    def adapt(self, model: torch.nn.Module, sequences: Sequence[History], report: Reporter) -> torch.nn.Module:
        from lwa_core import LayeredModel
        from lwa_core.modeling import with_adapters

        if self.train != "lora":
            return model
        around = [
            name
            for name, module in model.named_modules()
            if not name.startswith("transformer") and next(module.parameters(recurse=False), None) is not None
        ]
        how: dict[str, Any] = {"rank": self.rank, "alpha": self.alpha, "four_bit": self.four_bit, "whole": around}
        return with_adapters(LayeredModel(model), report=report, **how)

    def merge(self, model: torch.nn.Module) -> torch.nn.Module:
        from lwa_core.modeling import merged

        return merged(model) if self.train == "lora" else model

    def load(self, folder: Path) -> torch.nn.Module:
        from lwa_core import load_pretrained
        from lwa_plugins.recommenders.backbone.model import BackboneModel

        return load_pretrained(BackboneModel, folder)

    def training_windows(self, sequences: Sequence[History]) -> list[History]:
        """As `windows` says, each with `max_length` inputs at most."""
        return self.cut(sequences, self.max_length, self.masked)

    def training_batch(self, windows: Sequence[History]) -> Batch:
        """Of masked items, which ones is drawn anew each time; where none was drawn, it is the last."""
        from lwa_plugins.recommenders._sequences import masked_batch, next_item_batch

        if self.masked:
            return masked_batch(windows, self.masking, self.last_alone)
        return next_item_batch(windows, self.last_alone)

    def example_batch(self, histories: Sequence[History], targets: NDArray[np.int64] | None = None) -> Batch:
        import torch

        from lwa_plugins.recommenders._sequences import asking_batch, asking_by_mask, padded

        if self.masked:
            return asking_by_mask(histories, self.max_length, targets)
        return asking_batch(torch.from_numpy(padded([history[-self.max_length :] for history in histories])), targets)

    def loss(self, model: torch.nn.Module, batch: Batch) -> Losses:
        from lwa_core.modeling import cross_entropy
        from lwa_plugins.recommenders._sequences import losses_by_example

        hidden, targets = self.encode(model, batch)
        return losses_by_example(cross_entropy(hidden, _item_table(model), targets), batch["labels"] > 0)

    def scores(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        import torch

        hidden = model(batch["input_ids"]).last_hidden_state
        return self.head(model, hidden[torch.arange(len(hidden), device=hidden.device), batch["last"]])

    def encode(self, model: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = model(batch["input_ids"]).last_hidden_state
        valid = batch["labels"] > 0
        return hidden[valid], batch["labels"][valid] - 1

    def head(self, model: torch.nn.Module, hidden: torch.Tensor) -> torch.Tensor:
        import torch

        from lwa_core.modeling import product

        table = _item_table(model)
        return hidden @ table.T if torch.is_grad_enabled() else product(hidden, table)

    def parts(self, model: torch.nn.Module) -> ExportedParts:
        from lwa_plugins.recommenders.backbone.exported import parts_of

        return parts_of(model, self.max_length)


def _item_table(model: Any) -> torch.Tensor:
    """Embeddings of the catalogue's items (items, item width)."""
    table: torch.Tensor = model.item_table()
    return table
