"""Interactions as flat arrays, splits, item tables."""

from lwa_core.data.dataset import Catalogue, Examples, PreparedData, Step
from lwa_core.data.source import Source

__all__ = ["Catalogue", "Examples", "PreparedData", "Source", "Step"]
