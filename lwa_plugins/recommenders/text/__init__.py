"""`text`: items are what a text encoder makes of their titles, read by a transformer of a known family."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from lwa_core import setting
from lwa_plugins.recommenders.backbone import Backbone

if TYPE_CHECKING:
    import torch

    from lwa_core import Batch, Catalogue, History, Losses, Reporter


@attrs.frozen
class Text(Backbone):
    """`backbone` whose item embeddings are a linear map of vectors that a text encoder makes of the titles.

    The vectors are made once, before training, and stay as they are (UniSRec). A user's items are read by another
    language model, or the same, one position an item (HLLM). Only the map and the reading transformer learn, so that
    items that no user had in training are ranked by their titles. The layers that are scored and removed are those of
    the reading transformer; the encoder takes no part once the vectors are made.

    Training's cross-entropy is over the items that occur in training: the others are nobody's next item there, and
    would only be pushed down. Scores are over the whole catalogue.
    """

    encoder: str = setting(
        help="folder of the encoder of titles (safetensors) and its tokenizer: a text encoder or a language model",
        path=True,
    )
    pooling: str = setting(
        "mean",
        help="what the encoder's states become a vector by: their mean, the last token's or the first one's (cls)",
        choices=("mean", "last", "cls"),
    )
    prefix: str = setting("", help="text that is put before each title, where the encoder was trained with one")
    title_tokens: int = setting(32, help="longest title in tokens; of longer ones the end is cut off", minimum=1)
    title_batch: int = setting(64, help="titles that are encoded at once", minimum=1)

    def build(self, catalogue: Catalogue, report: Reporter) -> torch.nn.Module:
        from lwa_plugins.recommenders.text.encoding import standardised, title_vectors
        from lwa_plugins.recommenders.text.model import TextBackboneModel, tell_apart

        vectors = title_vectors(
            catalogue.titles or ("",) * len(catalogue),
            Path(self.encoder),
            pooling=self.pooling,
            prefix=self.prefix,
            length=self.title_tokens,
            batch=self.title_batch,
            report=report,
        )
        for code, message in tell_apart(vectors):
            report.warn(code, message)
        model: Any = self.built(TextBackboneModel, items=len(catalogue), text_width=vectors.shape[1])
        model.item_embedding.know(standardised(vectors))
        return model  # type: ignore[no-any-return]  # transformers is untyped

    def adapt(self, model: torch.nn.Module, sequences: Sequence[History], report: Reporter) -> torch.nn.Module:
        items: Any = model.item_embedding
        items.learn_of(sequences)
        return super().adapt(model, sequences, report)

    def load(self, folder: Path) -> torch.nn.Module:
        from lwa_core import load_pretrained
        from lwa_plugins.recommenders.text.model import TextBackboneModel

        return load_pretrained(TextBackboneModel, folder)

    def loss(self, model: torch.nn.Module, batch: Batch) -> Losses:
        from lwa_core.modeling import cross_entropy
        from lwa_plugins.recommenders._sequences import losses_by_example

        if not model.training:
            return super().loss(model, batch)
        hidden, targets = self.encode(model, batch)
        table, places = _learnt_table(model)
        return losses_by_example(cross_entropy(hidden, table, places[targets]), batch["labels"] > 0)


def _learnt_table(model: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings of the items that occur in training (some items, item width), and where each item is among them."""
    learnt: torch.Tensor = model.item_embedding.learnt
    return model.item_table()[learnt], learnt.cumsum(0) - 1
