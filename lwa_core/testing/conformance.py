"""What every scorer must hold to."""

from __future__ import annotations

import copy
from typing import Any

import torch

from lwa_core.modeling.probing.observation import observe
from lwa_core.modeling.probing.probe import Probe
from lwa_core.pipeline.scoring import draws_of, finished
from lwa_core.plugins.protocols import CombiningScorer, ObservingScorer
from lwa_core.testing.tiny import tiny_board, tiny_probe


def check_scorer(scorer: Any) -> None:
    """Score a tiny model, and assert: a finite table (samples, layers), the same when asked again, the model untouched.

    A combining scorer gets made-up scores instead of a model: `check_combining_scorer`.

    Raises:
        AssertionError: With what does not hold.
    """
    if isinstance(scorer, CombiningScorer):
        check_combining_scorer(scorer)
        return
    probe = tiny_probe()
    before = copy.deepcopy(probe.model.model.state_dict())
    table = score(scorer, probe)
    check_table(table, probe.depth)
    assert torch.equal(table, score(scorer, tiny_probe())), "the same model and seed gave another table"
    after = probe.model.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before), "scoring changed the weights"
    assert not probe.model.model.training, "scoring left the model in training mode"
    assert all(p.requires_grad for p in probe.model.model.parameters()), "scoring left weights frozen"
    hooked = [m for m in probe.model.model.modules() if m._forward_hooks or m._forward_pre_hooks or m._backward_hooks]
    assert not hooked, f"scoring left hooks on {type(hooked[0]).__name__ if hooked else ''}"


def check_combining_scorer(scorer: CombiningScorer) -> None:
    """Combine the scores of three and of one scorer, and assert: a finite table (samples, layers), the same when asked
    again and when a scorer's unit is another, the given scores untouched.

    Raises:
        AssertionError: With what does not hold.
    """
    for depth, names in ((4, ("first", "second", "third")), (7, ("alone",))):
        board, scaled = tiny_board(names, depth), tiny_board(names, depth, scale=1024.0)
        before = [board[name].samples.copy() for name in names]
        table = scorer.combine(board)
        check_table(table, depth)
        assert torch.equal(table, scorer.combine(board)), "the same scores gave another table"
        assert all((a == board[name].samples).all() for a, name in zip(before, names, strict=True)), (
            "combining changed the given scores"
        )
        assert torch.equal(table, scorer.combine(scaled)), "a scorer's unit changed the table: combine ranks"


def check_table(table: torch.Tensor, depth: int) -> None:
    """Assert that it is a scorer's table: (samples, layers), at least one row, finite."""
    assert table.dim() == 2, f"the table has {table.dim()} axes, not (samples, layers)"
    assert table.shape[1] == depth, f"the table has {table.shape[1]} columns for {depth} layers"
    assert len(table), "the table has no rows"
    assert bool(torch.isfinite(table).all()), "the table holds values that are not finite"


def score(scorer: Any, probe: Probe) -> torch.Tensor:
    """A scorer's table for a probe, whichever way it fills it; one row an example in the examples' own order."""
    if isinstance(scorer, ObservingScorer):
        seen = observe(probe, scorer.observes, draws=draws_of(scorer))
        return finished(scorer, [scorer.observe(part) for part in seen], probe)
    table: torch.Tensor = scorer.score(probe)
    return table
