"""Scores of models of texts, asked by the parts of the pipeline: scorers by name, a probe of given examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from lwa_core.modeling.layers.layered import LayeredModel
from lwa_core.modeling.probing.probe import Probe
from lwa_core.modeling.probing.subset_answers import SubsetAnswers
from lwa_core.pipeline.scoring import combined_scores, is_observing, observed_scores, queried_scores
from lwa_core.plugins.registry import Registry
from lwa_core.recipe.overrides import apply
from lwa_core.recipe.recipe import Use, combined_by
from lwa_core.settings import structure, unstructure
from lwa_core.text.examples import TextExamples, by_text
from lwa_core.text.subject import TextModel
from lwa_core.types import LayerScores, Quiet, ScoreBoard


def uses_of(names: Sequence[str], settings: Sequence[str] = ()) -> list[Use]:
    """Scorers with settings `"shapley.pairs=4"` each."""
    document: dict[str, Any] = {"score": [{"use": name} for name in names]}
    assert apply([f"score.{text}" for text in settings], document)[1] == []
    registry, uses = Registry.discover(), []
    for place, table in enumerate(document["score"]):
        offer = registry.find("scorer", table["use"])
        own = {key: value for key, value in table.items() if key != "use"}
        instance, problems = structure(offer.load(), own, (), None)
        assert problems == []
        uses.append(Use("scorer", offer.name, offer.name, offer, unstructure(instance), instance, ("score", place)))
    return uses


def tables(
    asked: TextModel, examples: TextExamples, *names: str, settings: Sequence[str] = (), **how: Any
) -> dict[str, LayerScores]:
    """The table of every scorer, one row for each text where rows are examples."""
    uses, answers = uses_of(names, settings), SubsetAnswers()
    how = {"batch": 4, "seed": 0, **how}

    def probe() -> Probe:
        layered = LayeredModel(asked.model)
        return Probe(layered, asked, examples.histories, examples.targets, report=Quiet(), answers=answers, **how)

    observing = [use for use in uses if is_observing(use)]
    scored = observed_scores(observing, probe(), Quiet()) if observing else {}
    for use in uses:
        if not use.combines and use.name not in scored:
            scored[use.name] = queried_scores(use, probe())
    scored = {name: attrs.evolve(each, scores=by_text(each.scores, examples.groups)) for name, each in scored.items()}
    for use in uses:
        if use.combines:
            board = ScoreBoard({other.name: scored[other.name].scores for other in combined_by(use, uses)})
            scored[use.name] = combined_scores(use, board, 0)
    return {use.name: scored[use.name].scores for use in uses}
