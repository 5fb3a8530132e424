"""What every scorer must hold to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from lwa_core.errors import PluginError
from lwa_core.modeling.probing.probe import Probe
from lwa_core.pipeline.scoring import Observer, finished_by, lent_board, lent_probe, observed_by, tell_observables
from lwa_core.plugins.methods import check_methods
from lwa_core.plugins.protocols import CombiningScorer, ObservingScorer
from lwa_core.plugins.returned import checked_table
from lwa_core.testing.tiny import tiny_board, tiny_probe


def check_scorer(scorer: Any) -> None:
    """Score a tiny model under the guard of a run, and assert what a run relies on.

    A finite table (samples, layers), the same when asked again, and for other micro-batches where a row is an example;
    the model, the examples, what is shown and the state of the process untouched. A combining scorer gets made-up
    scores instead of a model: `check_combining_scorer`.

    Raises:
        AssertionError: With what does not hold.
    """
    with _asserted():
        check_methods("scorer", type(scorer))
        if isinstance(scorer, CombiningScorer):
            check_combining_scorer(scorer)
            return
        probe = tiny_probe()
        table = score(scorer, probe)
        check_table(table, probe.depth)
        assert torch.equal(table, score(scorer, tiny_probe())), "the same model and seed gave another table"
        if isinstance(scorer, ObservingScorer) and len(table) == probe.examples:
            _check_batches(scorer, table)


def _check_batches(scorer: ObservingScorer, table: torch.Tensor) -> None:
    """A row that is an example's must not depend on the other examples of its micro-batch, nor on padding."""
    single = tiny_probe()
    single.batch = 1
    alone = score(scorer, single)
    if alone.shape == table.shape:
        scale = table.double().abs().max().clamp(min=1e-12)
        off = float((alone.double() - table.double()).abs().max() / scale)
        assert off < 1e-3, f"the scores of an example depend on its micro-batch or on padding (off by {off:.2g})"


def check_combining_scorer(scorer: CombiningScorer) -> None:
    """Combine the scores of three and of one scorer, and assert: a finite table (samples, layers), the same when asked
    again and when a scorer's unit is another, the same means whatever the order of the scorers, the given scores
    untouched.

    Raises:
        AssertionError: With what does not hold.
    """
    for depth, names in ((4, ("first", "second", "third")), (7, ("alone",))):
        board, scaled = tiny_board(names, depth), tiny_board(names, depth, scale=1024.0)
        turned = type(board)({name: board[name] for name in reversed(names)})
        table = combined(scorer, board)
        check_table(table, depth)
        assert torch.equal(table, combined(scorer, board)), "the same scores gave another table"
        assert torch.equal(table, combined(scorer, scaled)), "a scorer's unit changed the table: combine ranks"
        mean, other = (each.double().mean(dim=0) for each in (table, combined(scorer, turned)))
        assert torch.allclose(mean, other), "another order of the scorers gave other scores"


def combined(scorer: CombiningScorer, board: Any) -> torch.Tensor:
    """A combining scorer's table, made under the guard of a run."""
    with _asserted(), lent_board(_who(scorer), board, seed=0):
        return scorer.combine(board)


def check_table(table: Any, depth: int) -> None:
    """Assert that it is a scorer's table: a tensor (samples, layers) of real numbers, at least one row, finite."""
    with _asserted():
        checked_table("the scorer", table, depth)


def score(scorer: Any, probe: Probe) -> torch.Tensor:
    """A scorer's table for a probe, made under the guard of a run; one row an example in the examples' own order.

    Raises:
        AssertionError: It changed what it was lent.
    """
    who = _who(scorer)
    with _asserted():
        if not isinstance(scorer, ObservingScorer):
            with lent_probe(who, probe):
                table: torch.Tensor = scorer.score(probe)
                return table
        tell_observables(who, scorer)
        with lent_probe(who, probe) as loan:
            (parts,) = observed_by([Observer(who, scorer)], probe, loan)
            return finished_by(who, scorer, parts, probe, loan)


def _who(scorer: object) -> str:
    return f"scorer {type(scorer).__name__}"


@contextmanager
def _asserted() -> Iterator[None]:
    """What a run refuses is a failed assertion of a test."""
    try:
        yield
    except (PluginError, TypeError) as error:
        raise AssertionError(str(error)) from error
