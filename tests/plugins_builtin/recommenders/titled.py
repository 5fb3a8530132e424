"""Items with titles, and users whose next item follows from the words of the last one's title."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import tiny_texts

KINDS, EACH = 4, 8
COLD = 2
"""Items of each kind that users have last only."""


def titles() -> list[str]:
    """Item i is of kind i // EACH, which its title says twice, beside a word of its own."""
    return [f"w{item // EACH} w{item // EACH} w{KINDS + item}" for item in range(KINDS * EACH)]


def cold_items() -> list[int]:
    return [item for item in range(KINDS * EACH) if item % EACH >= EACH - COLD]


def sequences(users: int, seed: int = 0, *, cold_last: bool = False) -> list[np.ndarray]:
    """Kinds follow each other in a circle, the items within a kind by chance; none of the cold ones, unless last."""
    rng = np.random.default_rng(seed)
    found = []
    for user in range(users):
        kinds = (user + np.arange(rng.integers(6, 11))) % KINDS
        items = kinds * EACH + rng.integers(0, EACH - COLD, len(kinds))
        if cold_last:
            items[-1] = kinds[-1] * EACH + EACH - 1 - user // KINDS % COLD
        found.append(items.astype(np.int32))
    return found


def write(folder: Path, users: int = 60) -> str:
    """The events and titles as files, and an encoder; gives a recipe's `[data]` and the encoder's setting."""
    lines = [f"u{user} {' '.join(map(str, s))}\n" for user, s in enumerate(sequences(users, cold_last=True))]
    (folder / "events.txt").write_text("".join(lines), encoding="utf-8")
    named = {str(item): {"title": title} for item, title in enumerate(titles())}
    del named["0"]
    (folder / "titles.json").write_text(json.dumps(named), encoding="utf-8")
    tiny_texts.save_text_model("llama", folder / "encoder")
    return '[data]\nuse = "sequences"\npath = "events.txt"\ntitles = "titles.json"\n\n'
