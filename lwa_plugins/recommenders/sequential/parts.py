"""Blocks of a saved model taken apart into attention and feed-forward, each a block of its own: the same function."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from lwa_plugins.recommenders.sequential.model import ATTENTION, FEED_FORWARD, WHOLE, SequentialModel

OF_ATTENTION = ("attention", "attention_norm", "attention_gate")
"""Modules of a block that belong to its attention; all others are the feed-forward's."""


def in_parts(model: Any) -> Any:
    """The model with two blocks for each whole one."""
    kinds = model.config.part_types or [WHOLE] * model.config.num_hidden_layers
    places: list[tuple[int, str]] = []
    for old, kind in enumerate(kinds):
        places += [(old, part) for part in ((ATTENTION, FEED_FORWARD) if kind == WHOLE else (kind,))]
    config = deepcopy(model.config)
    config.num_hidden_layers, config.part_types = len(places), [part for _, part in places]
    new = {place: number for number, place in enumerate(places)}
    apart = SequentialModel(config)
    state = {}
    for name, value in model.state_dict().items():
        _, number, rest = name.split(".", 2) if name.startswith("blocks.") else ("", "", name)
        if not number:
            state[name] = value
            continue
        part = ATTENTION if rest.partition(".")[0] in OF_ATTENTION else FEED_FORWARD
        state[f"blocks.{new[int(number), part]}.{rest}"] = value
    apart.load_state_dict(state)
    return apart.to(model.device).eval()
