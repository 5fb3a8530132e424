"""Score the layers of one model outside a recipe."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from lwa_core.errors import LwaError, NeedsError, Problem, RecipeError, StoreError
from lwa_core.locate import render
from lwa_core.modeling.answers import Answers
from lwa_core.modeling.layered import LayeredModel
from lwa_core.modeling.probe import Probe
from lwa_core.modeling.saving import save_model
from lwa_core.protocols import Reporter
from lwa_core.reader import Reader
from lwa_core.recipe import Use, combined_by
from lwa_core.stages import Scored, combined_scores, is_observing, observed_scores, queried_scores
from lwa_core.store import explained
from lwa_core.text_examples import TextExamples
from lwa_core.text_models import TextModel
from lwa_core.types import LayerScores, ScoreBoard


@attrs.frozen
class _Head:
    """There are no keys before the tables."""


class _ScorerReader(Reader):
    """Reads what the command line says of scorers, by the rules of a recipe."""

    told = "this command"
    head = _Head
    tables = ("score",)
    sections: Mapping[str, type] = {}
    single: Mapping[str, str] = {}
    several: Mapping[str, str] = {"score": "scorer"}

    def read_scorers(self, settings: Sequence[str]) -> tuple[tuple[Use, ...], list[Problem]]:
        """The scorers, and what is wrong."""
        from lwa_core.overrides import apply

        _, self.problems = apply([f"score.{text}" for text in settings], self.document)
        self.registry = self._registry()
        uses: tuple[Use, ...] = self._table("score")
        lacking = {use.name: missing for use in uses if (missing := self.registry.lacking(use.offer.component))}
        if lacking and not self.problems:
            raise NeedsError("; ".join(f"{name} needs {', '.join(missing)}" for name, missing in lacking.items()))
        return uses, [_as_typed(problem) for problem in self.problems]


def _as_typed(problem: Problem) -> Problem:
    """A problem in the words of the command line."""
    if problem.code == "nothing-to-combine":
        return attrs.evolve(problem, message="there is no other scorer to combine", hint="add --scorer leave-one-out")
    if problem.code == "bad-override":
        return attrs.evolve(problem, file=None, hint="write --set scorer.key=value, for example shapley.pairs=64")
    return problem


def read_scorers(names: Sequence[str], settings: Sequence[str] = (), block: Collection[str] = ()) -> tuple[Use, ...]:
    """Scorers by their names, with settings `"fisher.per=model"` each.

    Raises:
        RecipeError: With all that is wrong: no such scorer, no such setting.
        NeedsError: The machine lacks what a scorer needs.
    """
    tables = [{"use": name} for name in dict.fromkeys(names)]
    uses, problems = _ScorerReader(Path(), {"score": tables}, block, False).read_scorers(settings)
    if problems:
        raise RecipeError(render(problems), problems)
    return uses


def text_probe(
    asked: TextModel, layered: LayeredModel, examples: TextExamples, report: Reporter, answers: Answers, **how: Any
) -> Probe:
    """A probe of a model of texts; `how`: `batch`, `seed`, `training_targets`, as for `Probe`."""
    recommender: Any = asked  # the part of one that a probe uses
    return Probe(layered, recommender, examples.histories, examples.targets, report=report, answers=answers, **how)


def score_layers(
    uses: Sequence[Use], asked: TextModel, layered: LayeredModel, examples: TextExamples, report: Reporter, **how: Any
) -> dict[str, Scored]:
    """The table of every scorer, by its name. Each draws by the seed alone; all share what was answered.

    Where a text made several examples, the rows of a text are put together (`by_text`).
    """
    answers, scored = Answers(), dict[str, Scored]()

    def probe() -> Probe:
        return text_probe(asked, layered, examples, report, answers, **how)

    observing = [use for use in uses if is_observing(use)]
    if observing:
        scored.update(observed_scores(observing, probe(), report))
    for use in uses:
        if not use.combines and use.name not in scored:
            scored[use.name] = queried_scores(use, probe())
    scored = {name: attrs.evolve(each, scores=by_text(each.scores, examples.groups)) for name, each in scored.items()}
    for use in uses:
        if use.combines:
            parts = {other.name: scored[other.name].scores for other in combined_by(use, uses)}
            scored[use.name] = combined_scores(use, ScoreBoard(parts))
    return {use.name: scored[use.name] for use in uses}


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


def best(scores: LayerScores, keep: int) -> tuple[int, ...]:
    """The layers with the highest scores, in their order. Raises LwaError where there are fewer."""
    if keep > scores.depth:
        raise LwaError(f"cannot keep {keep} of {scores.depth} layers", "lower --keep")
    return tuple(sorted(scores.order()[scores.depth - keep :]))


def assert_free(folder: Path) -> None:
    """Raise StoreError where something lies where a model is to be saved."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StoreError(f"{folder} is not empty", "name a folder that is not there yet")


def save_cut(layered: LayeredModel, kept: Sequence[int], asked: TextModel, folder: Path) -> None:
    """Save the model with just these layers, and its tokenizer: plain `from_pretrained` loads both.

    Raises:
        ModelError: Layers of this family cannot be removed.
        StoreError: It cannot be written.
    """
    student = layered.keep(kept)
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        save_model(student.model, folder)
        asked.tokenizer.save_pretrained(folder)
