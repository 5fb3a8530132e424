"""lwa, the Layerwise Adapter: which layers of a transformer recommender do its users need?

The public names, resolved when first used: importing `lwa_core` imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lwa_core.api import fit, load
    from lwa_core.data import Catalogue, Examples, PreparedData, Source
    from lwa_core.errors import (
        DataError,
        LwaError,
        ModelError,
        NeedsError,
        PluginError,
        Problem,
        RecipeError,
        StageError,
        StoreError,
    )
    from lwa_core.modeling.layers.layered import LayeredModel
    from lwa_core.plugins.hooks import Component, hookimpl
    from lwa_core.settings import setting
    from lwa_core.types import DepthPlan, Event, LayerCosts, LayerScores, Recommendations, RunContext, ScoreBoard

_HOME = {
    "Catalogue": "lwa_core.data",
    "Component": "lwa_core.plugins.hooks",
    "DataError": "lwa_core.errors",
    "DepthPlan": "lwa_core.types",
    "Event": "lwa_core.types",
    "Examples": "lwa_core.data",
    "LayerCosts": "lwa_core.types",
    "LayerScores": "lwa_core.types",
    "LayeredModel": "lwa_core.modeling.layers.layered",
    "LwaError": "lwa_core.errors",
    "ModelError": "lwa_core.errors",
    "NeedsError": "lwa_core.errors",
    "PluginError": "lwa_core.errors",
    "PreparedData": "lwa_core.data",
    "Problem": "lwa_core.errors",
    "RecipeError": "lwa_core.errors",
    "Recommendations": "lwa_core.types",
    "RunContext": "lwa_core.types",
    "ScoreBoard": "lwa_core.types",
    "Source": "lwa_core.data",
    "StageError": "lwa_core.errors",
    "StoreError": "lwa_core.errors",
    "fit": "lwa_core.api",
    "hookimpl": "lwa_core.plugins.hooks",
    "load": "lwa_core.api",
    "setting": "lwa_core.settings.declare",
}

__all__ = [
    "Catalogue",
    "Component",
    "DataError",
    "DepthPlan",
    "Event",
    "Examples",
    "LayerCosts",
    "LayerScores",
    "LayeredModel",
    "LwaError",
    "ModelError",
    "NeedsError",
    "PluginError",
    "PreparedData",
    "Problem",
    "RecipeError",
    "Recommendations",
    "RunContext",
    "ScoreBoard",
    "Source",
    "StageError",
    "StoreError",
    "fit",
    "hookimpl",
    "load",
    "setting",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'lwa_core' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
