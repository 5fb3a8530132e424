"""A plugin for comparison: `text` whose training loss is over the whole catalogue, untrained items too."""

from collections.abc import Iterable
from typing import Any

import attrs
import torch

from lwa_core import Component, hookimpl
from lwa_core.types import Batch, Losses
from lwa_plugins.recommenders.backbone import Backbone
from lwa_plugins.recommenders.text import Text


@attrs.frozen
class WholeCatalogue(Text):
    """`text` with the training loss of `backbone`."""

    def loss(self, model: torch.nn.Module, batch: Batch) -> Losses:
        return Backbone.loss(self, model, batch)


@hookimpl
def lwa_recommenders() -> Iterable[Component[Any]]:
    return [Component("text-whole-catalogue", WholeCatalogue)]
