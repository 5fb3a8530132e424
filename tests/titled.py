"""Items with titles, and users whose next item follows from the words of the last one's title."""

from __future__ import annotations

import gzip
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


def write(folder: Path, users: int = 60) -> None:
    """Reviews, metadata and an encoder, under the names that docs/text.md gives them. Item 0 has no title."""
    events, named = [], titles()
    for user, items in enumerate(sequences(users, cold_last=True)):
        for time, item in enumerate(items.tolist()):
            said = {
                "reviewerID": f"u{user}",
                "asin": f"i{item}",
                "overall": 5.0,
                "unixReviewTime": 1_500_000_000 + time,
            }
            events.append(said)
    _write_lines(folder / "Gift_Cards_5.json.gz", events)
    described = [{"asin": f"i{item}", "title": title if item else ""} for item, title in enumerate(named)]
    _write_lines(folder / "meta_Gift_Cards.json.gz", described)
    tiny_texts.save_text_model("bert", folder / "all-MiniLM-L6-v2")


def _write_lines(file: Path, rows: list[dict[str, object]]) -> None:
    with gzip.open(file, "wt", encoding="utf-8") as opened:
        opened.writelines(f"{json.dumps(row)}\n" for row in rows)
