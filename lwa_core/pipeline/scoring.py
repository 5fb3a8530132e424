"""Ask scorers for their tables, and keep them: JSON and safetensors only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from lwa_core.data import TimedHistory
from lwa_core.errors import PluginError
from lwa_core.plugins.code import OURS
from lwa_core.plugins.protocols import DrawsLabels, Finishing, HasUnit, ObservingScorer
from lwa_core.plugins.returned import checked_facts, checked_table
from lwa_core.recipe.recipe import Use
from lwa_core.store.files import read_json, write_json
from lwa_core.types import LayerScores, Reporter, ScoreBoard

if TYPE_CHECKING:
    import torch

    from lwa_core.modeling.probing.observation import Observation
    from lwa_core.modeling.probing.probe import Probe
    from lwa_core.plugins.lending.guard import Loan, Shown


@attrs.frozen
class Scored:
    """A scorer's table, and what it costs alone, in passes over the calibration examples."""

    scores: LayerScores
    passes: float


def observed_scores(uses: Sequence[Use], probe: Probe, report: Reporter) -> dict[str, Scored]:
    """The tables of all observing scorers, from one pass over the calibration examples.

    Raises:
        PluginError: One of them asks for what cannot be observed, gives something else than a table, or changed what it
            was shown or lent.
    """
    from lwa_core.modeling.probing.observation import passes

    for use in uses:
        tell_observables(use.who, use.instance)
    scored = {}
    with lent_probe(_those(uses), probe) as loan:
        scorers = [Observer(use.who, use.instance, use.offer.provider.distribution == OURS) for use in uses]
        parts = observed_by(scorers, probe, loan, report)
        for use, own in zip(uses, parts, strict=True):
            probe.facts = {}
            table = checked_table(use.who, finished_by(use.who, use.instance, own, probe, loan), probe.depth)
            cost = passes(use.instance.observes, draws_of(use.instance))
            scored[use.name] = Scored(layer_scores(use, table, probe.facts), cost)
    return scored


def finished_by(
    who: str, scorer: ObservingScorer, parts: Sequence[torch.Tensor], probe: Probe, loan: Loan
) -> torch.Tensor:
    """The table of an observing scorer, whose `finish` is looked at as its other calls are.

    What one scorer draws does not move what another one draws. Raises PluginError where it changed what it was lent.
    """
    from lwa_core.plugins.lending.process import seed_all

    if not isinstance(scorer, Finishing):
        return finished(scorer, parts, probe)
    probe.generator = np.random.default_rng(probe.seed)
    seed_all(probe.seed)
    table = finished(scorer, parts, probe)
    loan.check_process(who)
    loan.check(who)
    return table


@attrs.frozen
class Observer:
    """An observing scorer: how messages call it, and whether it is one of our own, which our tests hold to it."""

    who: str
    scorer: ObservingScorer
    ours: bool = False


THOROUGH = 16
"""Every so many micro-batches, from the first on, all that a scorer could change is compared after its call, of our own
scorers after all of their calls; in between only what torch counts itself. After the last, all is compared again."""


def observed_by(
    observers: Sequence[Observer], probe: Probe, loan: Loan, report: Reporter | None = None
) -> list[list[torch.Tensor]]:
    """What each of several scorers gave for each micro-batch of one pass.

    Args:
        observers: The scorers.
        probe: The model and the examples.
        loan: The probe, lent.
        report: Gets the progress.

    Raises:
        PluginError: One of them gives no tensor, or changed what it was shown or lent.
    """
    from lwa_core.modeling.probing.observation import observe
    from lwa_core.plugins.lending.guard import Shown

    needs = frozenset().union(*(each.scorer.observes for each in observers))
    draws = max((draws_of(each.scorer) for each in observers), default=1)
    parts: list[list[torch.Tensor]] = [[] for _ in observers]
    weights = Shown(dict(loan.counted()), thorough=False)
    done = 0
    for number, seen in enumerate(observe(probe, needs, draws=draws)):
        calls = Calls(loan, weights, seen, probe.seed, number, thorough=number % THOROUGH == 0)
        for own, each in zip(parts, observers, strict=True):
            own.append(calls.observe(each))
        calls.end(", ".join(each.who for each in observers if each.ours))
        done += len(seen.mask)
        if report is not None:
            report.progress(done, probe.examples, f"one pass for {len(observers)} scorers")
    return parts


def tell_observables(who: str, scorer: ObservingScorer) -> None:
    """Raise PluginError where a scorer asks for what cannot be observed."""
    from lwa_core.modeling.probing.observation import OBSERVABLES

    unknown = sorted(frozenset(scorer.observes) - OBSERVABLES)
    if unknown:
        hint = f"there are: {', '.join(sorted(OBSERVABLES))}"
        raise PluginError(f"{who} asks to observe {', '.join(unknown)}, which nothing is called", hint)


class Calls:
    """The calls of all observing scorers about one micro-batch, and what is looked at after each.

    Args:
        loan: What they are lent.
        weights: The tensors of the model, as torch counts what is written to them.
        seen: What they are shown.
        seed: Of the global generators; each call begins alike, whoever was called before.
        number: Of the micro-batch.
        thorough: Whether all is compared, not just what torch counts.
    """

    def __init__(
        self, loan: Loan, weights: Shown, seen: Observation, seed: int, number: int, *, thorough: bool
    ) -> None:
        from lwa_core.plugins.lending.guard import Shown

        self.loan, self.weights, self.seen, self.thorough = loan, weights, seen, thorough
        self.seed = seed + number
        self.shown = Shown(shown_tensors(seen), thorough)

    def observe(self, observer: Observer) -> torch.Tensor:
        """What a scorer makes of it. Raises PluginError where that is no tensor, or something was changed."""
        import torch

        from lwa_core.plugins.lending.process import seed_all

        who, scorer = observer.who, observer.scorer
        seed_all(self.seed)
        part = scorer.observe(self.seen)
        self._look(who, thorough=self.thorough and not observer.ours)
        if not isinstance(part, torch.Tensor) or not part.dim():
            gave = type(part).__name__ if not isinstance(part, torch.Tensor) else "a single number"
            raise PluginError(f"{who} gave {gave} from `observe`, not a tensor (examples, …)")
        if len(part) not in (1, len(self.seen.mask)) and not isinstance(scorer, Finishing):
            said = f"{who} gave {len(part)} rows for {len(self.seen.mask)} examples"
            raise PluginError(said, "a row an example, or one for all; whoever needs other rows has a `finish`")
        return part

    def end(self, who: str) -> None:
        """After all calls: compare all for those that it was not compared for."""
        if who and self.thorough:
            self._look(who, thorough=True)

    def _look(self, who: str, *, thorough: bool) -> None:
        self.shown.check(who, thorough=thorough)
        self.weights.check(who)
        self.loan.check_process(who)
        if thorough:
            self.loan.check(who)


def shown_tensors(seen: Observation) -> dict[str, torch.Tensor]:
    """Every tensor of an observation, by the name that a scorer has for it."""
    import torch

    found: dict[str, torch.Tensor] = {}
    for field in attrs.fields(type(seen)):
        value = getattr(seen, field.name)
        for place, each in enumerate(value if isinstance(value, tuple) else (value,)):
            name = f"seen.{field.name}" + (f"[{place}]" if isinstance(value, tuple) else "")
            parts = {"": each} if isinstance(each, torch.Tensor) else attrs.asdict(each, recurse=False) if each else {}
            found |= {
                name + (f".{key}" if key else ""): part for key, part in parts.items() if isinstance(part, torch.Tensor)
            }
    return found


@contextmanager
def lent_probe(who: str, probe: Probe) -> Iterator[Loan]:
    """Lend a probe with its model and examples to a scorer or selector.

    Answers about layer subsets that come in between are kept only while the model is as it was: whoever changes it,
    asks, and changes it back would leave answers that others take for the model's own.

    Raises:
        PluginError: Something was changed; the message says what.
    """
    from lwa_core.plugins.lending.guard import lent

    probe.settle()
    arrays: dict[str, Any] = {
        "`probe.histories`": probe.histories,
        "the times of `probe.histories`": [h.times for h in probe.histories if isinstance(h, TimedHistory)],
        "`probe.targets`": probe.targets,
        "`probe.order`": probe.order,
    }
    kind = type(probe.subject)
    own = [field.name for field in attrs.fields(kind)] if attrs.has(kind) else []
    objects = {
        "the probe": (probe, PROBE),
        "`probe.model`": (probe.model, ("model", "path")),
        "`probe.subject`": (probe.subject, own),
    }
    with lent(who, probe.seed, models={"the model": probe.model.model}, arrays=arrays, objects=objects) as loan:
        probe.answers_only_if(loan.check_answers)
        try:
            yield loan
        finally:
            probe.answers_only_if(None)


PROBE = ("model", "subject", "histories", "batch", "seed", "utility", "repair", "report", "training_targets")
"""What the core relies on in a probe that others were lent."""


def _those(uses: Sequence[Use]) -> str:
    """Who a change is laid at where it shows only after all have had their turn: others than our own first."""
    others = [use for use in uses if use.offer.provider.distribution != OURS] or list(uses)
    return others[0].who if len(others) == 1 else "one of these: " + ", ".join(use.who for use in others) + " –"


def finished(scorer: ObservingScorer, parts: Sequence[torch.Tensor], probe: Probe) -> torch.Tensor:
    """The table of an observing scorer, from what it gave for each micro-batch.

    Rows of examples are put back into the examples' own order. Where the scorer is not `Finishing`, they are the table.
    """
    import torch

    rows = torch.cat([part.detach().cpu() for part in parts])
    if len(rows) == probe.examples:
        rows = rows[torch.from_numpy(probe.order.argsort(kind="stable"))]
    return scorer.finish(rows, probe) if isinstance(scorer, Finishing) else rows


def queried_scores(use: Use, probe: Probe) -> Scored:
    """The table of a querying scorer. Raises PluginError where it gives none, or changed what it was lent."""
    from lwa_core.modeling.layers.packed_weights import codes_hidden

    with codes_hidden(probe.model), lent_probe(use.who, probe):
        table = use.instance.score(probe)
    table = checked_table(use.who, table, probe.depth, probe.broken)
    return Scored(layer_scores(use, table, probe.facts), probe.cost)


def combined_scores(use: Use, board: ScoreBoard, seed: int) -> Scored:
    """The table of a combining scorer, made from the scores on the board; `seed` is that of the global generators.

    Raises PluginError where it gives none, or changed the board.
    """
    with lent_board(use.who, board, seed):
        table = use.instance.combine(board)
    table = checked_table(use.who, table, board[board.names[0]].depth)
    return Scored(layer_scores(use, table, {"combines": board.names}), 0.0)


def lent_board(who: str, board: ScoreBoard, seed: int) -> AbstractContextManager[Loan]:
    """Lend scores. Raises PluginError where one of them was changed."""
    from lwa_core.plugins.lending.guard import lent

    return lent(who, seed, arrays=board_arrays(board))


def board_arrays(board: ScoreBoard) -> dict[str, NDArray[Any]]:
    """The tables on a board, by what a message calls them."""
    return {f"the scores of '{name}'": board[name].samples for name in board.names}


def layer_scores(use: Use, table: torch.Tensor, facts: Mapping[str, Any]) -> LayerScores:
    """A scorer's table with its name, its unit and what the scorer told besides."""
    unit: Any = use.instance.unit if isinstance(use.instance, HasUnit) else ""
    if not isinstance(unit, str):
        raise PluginError(f"{use.who} has a `unit` that is {type(unit).__name__}, not text")
    return LayerScores(use.name, table.cpu().double().numpy(), unit, checked_facts(use.who, facts))


def is_observing(use: Use) -> bool:
    """Whether a scorer looks at the shared pass (else it asks the probe)."""
    return isinstance(use.instance, ObservingScorer)


def draws_of(scorer: object) -> int:
    """How many drawings of labels a scorer needs."""
    return scorer.draws if isinstance(scorer, DrawsLabels) else 1


def write_scores(folder: Path, scored: Scored) -> None:
    """Write a scorer's table."""
    scores = scored.scores
    save_file({"samples": np.ascontiguousarray(scores.samples)}, folder / "samples.safetensors")
    write_json(folder / "scores.json", {"unit": scores.unit, "facts": dict(scores.facts), "passes": scored.passes})


def read_scores(name: str, folder: Path) -> LayerScores:
    """Read a scorer's table."""
    samples = load_file(folder / "samples.safetensors")["samples"]
    said = read_json(folder / "scores.json")
    return LayerScores(name, samples, said["unit"], {**said["facts"], "passes": said["passes"]})
