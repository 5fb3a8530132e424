"""Interactions as flat arrays, splits, item tables."""

from lwa_core.data.coding import gather_blocks
from lwa_core.data.dataset import Catalogue, Examples, PreparedData, Step
from lwa_core.data.frames import source_from_frame
from lwa_core.data.prepare import prepare
from lwa_core.data.saving import load_prepared, save_prepared
from lwa_core.data.source import Source
from lwa_core.data.timed import TimedHistory

__all__ = [
    "Catalogue",
    "Examples",
    "PreparedData",
    "Source",
    "Step",
    "TimedHistory",
    "gather_blocks",
    "load_prepared",
    "prepare",
    "save_prepared",
    "source_from_frame",
]
