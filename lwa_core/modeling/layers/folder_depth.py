"""How many layers the model in a folder has, by its config.json alone: imports no torch, loads nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lwa_core.modeling.layers.cut_config import PLAIN_DEPTHS

LARGEST = 1 << 22
"""Bytes of a config.json. What is larger is something else."""


def depth_of_folder(folder: Path) -> int | None:
    """The depth that a saved model's configuration states; None where there is none, or it states several or no depth.

    It may be inside `text_config` or `transformer_config`. Models of an encoder and a decoder have no one depth.
    """
    try:
        file = folder / "config.json"
        config: Any = json.loads(file.read_text("utf-8")) if file.stat().st_size <= LARGEST else None
    except (OSError, ValueError, RecursionError):
        return None  # what is wrong with the folder is said where it is loaded
    if not isinstance(config, dict) or config.get("is_encoder_decoder"):
        return None
    inside = [config.get(name) for name in ("transformer_config", "text_config")]
    for values in (*(inner for inner in inside if isinstance(inner, dict)), config):
        stated = {values[name] for name in PLAIN_DEPTHS if type(values.get(name)) is int}
        if stated:
            return stated.pop() if len(stated) == 1 else None
    return None
