"""What every scorer and every exporter must hold to."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lwa_core.data import TimedHistory
from lwa_core.errors import ModelError, PluginError
from lwa_core.modeling.probing.probe import Probe
from lwa_core.pipeline.scoring import Observer, finished_by, lent_board, lent_probe, observed_by, tell_observables
from lwa_core.plugins.lending.guard import lent
from lwa_core.plugins.methods import check_methods
from lwa_core.plugins.protocols import CombiningScorer, ObservingScorer
from lwa_core.plugins.returned import checked_table
from lwa_core.recommendation.ranker import Ranker
from lwa_core.testing.tiny import tiny_board, tiny_probe, tiny_ranker
from lwa_core.types import History, Quiet

FEWEST_KEPT = 0.7
"""Of the best ten items, on average."""

BATCH_TOLERANCE = 1e-5
"""Between scores of a history alone and beside others, relative to the largest; in float32."""


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


def check_exporter(exporter: Any) -> None:
    """Write tiny models as bundles under the guard of a run, and assert what a run relies on.

    Models that predict the next item, with and without times, and one that is asked with a mask: each bundle opens,
    its answers are those of the model (with all in float32 to 1e-5, else at least seven of the best ten items on
    average), in float32 a history is answered alike whatever stands beside it in the batch, and the model is untouched.

    Raises:
        AssertionError: With what does not hold.
    """
    with _asserted():
        check_methods("exporter", type(exporter))
        for settings in ({}, {"times": True}, {"objective": "masked"}):
            _check_bundle(exporter, tiny_ranker(**settings))


def _check_bundle(exporter: Any, ranker: Ranker) -> None:
    from lwa_core.pipeline.bundles import write_bundle

    who = f"exporter {type(exporter).__name__}"
    with tempfile.TemporaryDirectory(prefix="lwa-") as folder:
        with lent(who, 0, models={"the model": ranker.model}):
            served, agreement = write_bundle(ranker, exporter, Path(folder) / "bundle", Quiet())
        assert agreement.top >= FEWEST_KEPT, f"of the best ten items only {agreement.top:.0%} are the model's"
        rng = np.random.default_rng(0)
        histories: list[History] = [rng.integers(0, len(served.ids), length).astype(np.int32) for length in (1, 5, 12)]
        if served.uses_times:
            histories = [TimedHistory(each, rng.integers(0, 10**9, len(each)).cumsum()) for each in histories]
        if served.described.weights != "float32":
            return  # inputs that are quantised as they come share a scale with the rest of the batch
        together, alone = served.scores(histories), np.concatenate([served.scores([each]) for each in histories])
        off = float(np.abs(together - alone).max() / max(1.0, float(np.abs(alone).max())))
        assert off < BATCH_TOLERANCE, f"an answer depends on what stands beside it in the batch (off by {off:.2g})"


def _who(scorer: object) -> str:
    return f"scorer {type(scorer).__name__}"


@contextmanager
def _asserted() -> Iterator[None]:
    """What a run refuses is a failed assertion of a test."""
    try:
        yield
    except (ModelError, PluginError, TypeError) as error:
        raise AssertionError(str(error)) from error
