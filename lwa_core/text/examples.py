"""Examples to score a model of texts on: a text that is cut, masked or labelled, and the one target of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from lwa_core.errors import DataError, ModelError
from lwa_core.text.parts import answer_of
from lwa_core.text.reading import Text
from lwa_core.types import History, LayerScores

if TYPE_CHECKING:
    from lwa_core.text.subject import TextModel

Integers = NDArray[np.int64]


@attrs.frozen(eq=False)
class TextExamples:
    """Examples in the form that a probe takes.

    Args:
        histories: Token ids of each example.
        targets: The token or class that is asked for (examples,).
        groups: Which text each example was made of (examples,), from 0, rising.
    """

    histories: list[History]
    targets: Integers
    groups: Integers

    @property
    def texts(self) -> int:
        """How many texts they were made of."""
        return int(self.groups[-1]) + 1


def make_examples(
    asked: TextModel,
    texts: Sequence[Text],
    file: Path,
    *,
    length: int = 128,
    cuts: int = 1,
    seed: int = 0,
    places: Mapping[str, int] | None = None,
) -> TextExamples:
    """The examples of texts. What is drawn for a text depends on its line and the seed alone.

    Args:
        asked: The model.
        texts: The texts.
        file: Where they are from, for messages.
        length: Longest text in tokens; what is longer loses its end.
        cuts: Positions drawn of each text, without replacement; all where there are fewer. A classifier has none.
        seed: Of the positions.
        places: Where each text that answers another one is in an encoder's index.

    Raises:
        DataError: A text has no token that can be asked for, or the model does not know a label.
        ModelError: The tokenizer gives tokens that the model does not know.
    """
    histories: list[History] = []
    targets: list[int] = []
    groups: list[int] = []
    for group, text in enumerate(texts):
        made: list[tuple[History, int]]
        if asked.per_token:
            ids, special = tokens(asked, text, length, file)
            made = _drawn(asked, ids, special, cuts, np.random.default_rng([seed, text.line]))
        else:
            ids, _ = tokens(asked, text, length, file)
            made = [(ids, target_of(asked, text, file, places))] if len(ids) else []
        if not made:
            said = "no token" if asked.task != "causal" else "no token that follows another"
            raise DataError(f"the text has {said} to ask for", file=file, line=text.line)
        histories += [history for history, _ in made]
        targets += [target for _, target in made]
        groups += [group] * len(made)
    return TextExamples(histories, np.array(targets, dtype=np.int64), np.array(groups, dtype=np.int64))


def target_of(asked: TextModel, text: Text, file: Path, places: Mapping[str, int] | None) -> int:
    """The class of a text, or where its answer is in the index."""
    if asked.task == "classify":
        return _class_of(asked, text, file)
    if places is None or answer_of(text) not in places:
        raise DataError("the text has no answer in the index", file=file, line=text.line)
    return places[answer_of(text)]


def tokens(asked: TextModel, text: Text, length: int, file: Path) -> tuple[History, NDArray[np.bool_]]:
    """Token ids of a text, and which of them stand for no part of it.

    Raises:
        DataError: A text that a masked language model is to be asked about holds the mask itself.
        ModelError: The tokenizer gives tokens that the model does not know.
    """
    most = min(length, asked.longest)
    encoded = asked.tokenizer(text.text, truncation=True, max_length=most, return_special_tokens_mask=True)
    ids = np.array(encoded["input_ids"], dtype=np.int32)
    if len(ids) and int(ids.max()) >= asked.vocabulary:
        said = f"the tokenizer gives token {ids.max()}, and the model knows {asked.vocabulary} tokens"
        raise ModelError(said, "they do not belong together")
    if asked.task == "masked" and (ids == asked.tokenizer.mask_token_id).any():
        raise DataError(f"the text holds {asked.tokenizer.mask_token} itself", file=file, line=text.line)
    return ids, np.array(encoded["special_tokens_mask"], dtype=bool)


def by_text(scores: LayerScores, groups: NDArray[np.int64]) -> LayerScores:
    """A table of one row an example as one of one row a text, with the same means.

    The row of a text is the mean of all N examples plus T/N times the sum of its own examples' deviations from it, for
    T texts: so the standard error of the rows' mean is the cluster-robust one (Liang & Zeger 1986), with T/(T − 1).
    Tables of other rows than examples are left as they are.
    """
    count, texts = len(groups), int(groups[-1]) + 1
    if scores.count != count or texts == count:
        return scores
    sums = np.zeros((texts, scores.depth))
    np.add.at(sums, groups, scores.samples - scores.mean)
    return attrs.evolve(scores, samples=scores.mean + sums * (texts / count))


def _drawn(
    asked: TextModel, ids: History, special: NDArray[np.bool_], cuts: int, generator: np.random.Generator
) -> list[tuple[History, int]]:
    """A text cut before, or masked at, some of its own tokens, and those tokens."""
    mask = asked.tokenizer.mask_token_id
    free = ~special
    if asked.task == "causal":
        free[:1] = False  # nothing comes before it
    places = np.flatnonzero(free)
    chosen = np.sort(generator.choice(places, min(cuts, len(places)), replace=False)) if len(places) else places
    if asked.task == "causal":
        return [(ids[:place], int(ids[place])) for place in chosen.tolist()]
    return [(_masked(ids, place, mask), int(ids[place])) for place in chosen.tolist()]


def _masked(ids: History, place: int, mask: int) -> History:
    found = ids.copy()
    found[place] = mask
    return found


def _class_of(asked: TextModel, text: Text, file: Path) -> int:
    """The class that a label means: by its name, else by its number."""
    classes, label = asked.classes, text.label
    if asked.head_of_ours is not None and str(label) in classes:
        return classes[str(label)]
    if isinstance(label, str) and label in classes:
        return classes[label]
    number: Any = int(label) if isinstance(label, str) and label.isdecimal() else label
    if type(number) is int and number in classes.values():
        return number
    hint = f"the model knows: {', '.join(classes)}; a number counts from 0"
    raise DataError(f"unknown label {label!r}", file=file, line=text.line, hint=hint)
