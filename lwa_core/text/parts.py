"""Texts in parts: which train, stop training, calibrate and test, drawn with the seed; and how they lie on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from lwa_core.errors import DataError
from lwa_core.store.files import read_json, write_json
from lwa_core.text.reading import Text
from lwa_core.text.sections import Texts

PARTS = ("train", "validation", "calibration", "test")
FILE = "texts.json"

EXCERPT = 16
"""Texts of each part that an excerpt holds."""


@attrs.frozen(eq=False)
class TextData:
    """Texts by part.

    Args:
        parts: `train`, `validation`, `calibration` and `test`, each in the order of the file. No text is in two.
        other: Texts of another domain, which nothing is chosen or trained on.
        corpus: The index of an encoder: every text that can be the answer to another one, each once; the texts
            themselves where they have no answers. Empty for other models.
        file: Where they come from, for messages.
    """

    parts: Mapping[str, Sequence[Text]]
    other: Sequence[Text]
    corpus: Sequence[str]
    file: Path

    def __getitem__(self, part: str) -> Sequence[Text]:
        return self.parts[part]

    @property
    def size(self) -> int:
        """How many texts there are, without those of another domain."""
        return sum(map(len, self.parts.values()))

    def only(self, *parts: str) -> TextData:
        """The same without the texts of all other parts and of the other domain; the index stays."""
        held = {part: texts if part in parts else [] for part, texts in self.parts.items()}
        return attrs.evolve(self, parts=held, other=[])

    def places(self) -> dict[str, int]:
        """Where in the corpus each of its texts is."""
        return {text: place for place, text in enumerate(self.corpus)}

    def excerpt(self, calibration: int) -> TextData:
        """The first texts of each part but the test part, which is empty, and of calibration as many as are asked for.

        The index stays whole: what a model is asked about is a place in it.
        """
        most = {"calibration": calibration, "test": 0}
        parts = {part: texts[: most.get(part, EXCERPT)] for part, texts in self.parts.items()}
        return attrs.evolve(self, parts=parts, other=[])


def split_texts(
    texts: Sequence[Text], other: Sequence[Text], asked: Texts, seed: int, *, index: bool = False
) -> TextData:
    """Draw the parts. Texts that are equal come into one part together, so that no test text was trained on.

    Args:
        texts: All of them.
        other: Those of another domain.
        asked: The shares.
        seed: Of what is drawn.
        index: Whether there is to be an index of answers.

    Raises:
        DataError: A part that the shares ask for would be empty.
    """
    rng = np.random.default_rng(seed)
    texts = list(texts)
    if asked.most and len(texts) > asked.most:
        texts = [texts[place] for place in np.sort(rng.choice(len(texts), asked.most, replace=False))]
    groups: dict[str, list[int]] = {}
    for place, text in enumerate(texts):
        groups.setdefault(text.text, []).append(place)
    order = [list(groups.values())[place] for place in rng.permutation(len(groups))]
    shares = {"test": asked.test, "calibration": asked.calibration, "validation": asked.validation}
    chosen: dict[str, list[int]] = {part: [] for part in PARTS}
    for part, share in shares.items():
        wanted = round(share * len(texts))
        while order and len(chosen[part]) < wanted:
            chosen[part] += order.pop()
        if share and not chosen[part]:
            hint = "give more texts, or a larger share"
            raise DataError(f"{len(texts)} texts leave none for {part}", file=asked.path, hint=hint)
    chosen["train"] = [place for group in order for place in group]
    parts = {part: [texts[place] for place in sorted(places)] for part, places in chosen.items()}
    corpus = list(dict.fromkeys(map(answer_of, texts))) if index else []
    return TextData(parts, list(other), corpus, asked.path)


def answer_of(text: Text) -> str:
    """What an encoder is to find: the text that belongs to it; the text itself where pairs only have a score."""
    return text.text if text.pair is None or text.score is not None else text.pair


def save_texts(data: TextData, folder: Path) -> None:
    """Write what `load_texts` reads."""
    account = {
        "parts": {part: [attrs.asdict(text) for text in texts] for part, texts in data.parts.items()},
        "other": [attrs.asdict(text) for text in data.other],
        "corpus": list(data.corpus),
        "file": data.file.name,
    }
    write_json(folder / FILE, account)


def load_texts(folder: Path) -> TextData:
    """Read what `save_texts` wrote. Raises StoreError."""
    account: dict[str, Any] = read_json(folder / FILE)
    parts = {part: [Text(**text) for text in texts] for part, texts in account["parts"].items()}
    return TextData(parts, [Text(**text) for text in account["other"]], account["corpus"], Path(account["file"]))
