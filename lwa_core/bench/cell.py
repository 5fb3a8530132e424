"""One cell of a benchmark: a trained model, the table of all its layer subsets, what each scorer and selector chose."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from numpy.typing import NDArray

from lwa_core.bench.document import Bench, Cell
from lwa_core.bench.layer_calls import LayerCalls
from lwa_core.bench.regret import best_share, compared, random_share, share_of
from lwa_core.bench.telling_apart import told_apart
from lwa_core.errors import LwaError, ModelError
from lwa_core.modeling.devices import use_device
from lwa_core.modeling.gradients.taps import Weights
from lwa_core.modeling.layers.layered import LayeredModel
from lwa_core.modeling.layers.planted import KINDS, plant
from lwa_core.modeling.probing.asked import layered
from lwa_core.modeling.probing.observation import SAMPLED, WEIGHTS, one_at_a_time
from lwa_core.modeling.probing.probe import Probe
from lwa_core.modeling.probing.state_form import assert_states_by_example
from lwa_core.modeling.probing.subset_answers import SubsetAnswers
from lwa_core.pipeline.answers import answers_key, stored_answers
from lwa_core.pipeline.events import Bus, Listener
from lwa_core.pipeline.graph import Inputs, Job, Run, Stage
from lwa_core.pipeline.plan import make_plan
from lwa_core.pipeline.run import assert_able
from lwa_core.pipeline.scoring import (
    Scored,
    combined_scores,
    is_observing,
    observed_scores,
    queried_scores,
    read_scores,
    write_scores,
)
from lwa_core.pipeline.smoke_test import smoke_stage
from lwa_core.pipeline.stages.selection import TeacherSelection, selected
from lwa_core.pipeline.task import make_probe
from lwa_core.recipe.recipe import Recipe, Use, combined_by
from lwa_core.statistics.agreement import spearman
from lwa_core.statistics.semivalues import shapley_weights
from lwa_core.statistics.subsets import Kept
from lwa_core.store.files import digest, read_json, write_json
from lwa_core.store.places import below
from lwa_core.store.refusals import explained
from lwa_core.store.results import Store
from lwa_core.types import DepthPlan, LayerScores, Quiet, RunContext, ScoreBoard

VERSION = 3
"""Goes up when the same cell gives other figures."""

SUBSETS_AT_ONCE = 512

NEGLIGIBLE = 0.05
"""Passes of a scorer's own that are not spoken of: a look at an example or two."""


def measure_cell(bench: Bench, cell: Cell, store: Store, listeners: Sequence[Listener] = ()) -> dict[str, Any]:
    """Everything about one cell, JSON-ready. What the store has is not computed again."""
    torch.set_num_threads(1)  # CPU-seconds are those of one thread
    folder = below(store.root, "bench", f"{bench.name}-{cell.name}-{cell.seed}")
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    treated = tuple(use for use in (bench.repair, bench.heal) if use is not None)
    recipe = cell.recipe.replaced(folder.name, score=bench.scorers, select=None, compress=treated)
    assert_able(recipe)
    bus = Bus(recipe.registry, RunContext(folder.name, folder), listeners)
    with use_device(recipe.device):
        return {"cell": cell.name, "seed": cell.seed, **_Cell(bench, recipe, Run(recipe, store, bus)).carry_out()}


class _Cell:
    """One cell while it is measured."""

    def __init__(self, bench: Bench, recipe: Recipe, run: Run) -> None:
        self.bench, self.recipe, self.run = bench, recipe, run
        self.plan = make_plan(recipe, refit=False)
        self.task = self.plan.task
        run.path(smoke_stage(self.task, self.plan.data, self.plan.teacher, bench.selectors))
        self.data = run.value(self.plan.data)
        self.teacher = run.value(self.plan.teacher).live
        self.depth = self.teacher.layered.depth
        if self.depth < 4:
            raise LwaError(f"a model of {self.depth} layers leaves nothing to compare", "use at least 4 layers")
        self.removals = range(1, self.depth // 2 + 1)
        self.controlled = self.depth <= bench.measure.controls
        self.about = answers_key(self.task, self.plan.teacher)
        self.inputs: Inputs = {"data": self.plan.data, "teacher": self.plan.teacher}
        self.asked = {"answers": self.about}

    def carry_out(self) -> dict[str, Any]:
        made = {use.name: self._entry(use) for use in self.bench.entries}
        test = self._table("test", self.test_probe)
        ranked = self._ranked()
        entries = [self._told(use, made[use.name], test, ranked) for use in self.bench.entries]
        chosen = {use.name: [tuple(kept) for kept in made[use.name]["kept"]] for use in self.bench.entries}
        assert self.plan.quality is not None
        quality = self.task.headline(self.run.value(self.plan.quality))
        return {
            "depth": self.depth,
            "metric": self.task.metric,
            "teacher": {self.task.metric: quality, "loss": -float(test[-1].mean())},
            "examples": {"calibration": self.probe().examples, "test": test.shape[1]},
            "table_cpu_seconds": self.table_cpu,
            "random": {
                **compared(test, self.depth, None, self.removals),
                "kept": None if ranked is None else random_share(ranked, self.depth, self.removals),
            },
            "best": {"kept": None if ranked is None else best_share(ranked, self.depth, self.removals)},
            **told_apart(test, chosen),
            "entries": entries,
        }

    # What is asked

    def probe(self, answers: SubsetAnswers | None = None) -> Probe:
        """The calibration examples; nothing is known of them where no answers are given."""
        return make_probe(self.task, self.data, self.teacher, Quiet(), answers)

    @cached_property
    def test_probe(self) -> Probe:
        """Test examples, which no scorer and no selector sees."""
        count = self.bench.measure.test
        histories, targets = self.task.held_out(self.data, self.teacher, count)
        return Probe(
            self.teacher.layered,
            self.teacher.subject,
            histories,
            targets,
            **self.task.ranked,
            batch=self.recipe.calibration.batch,
            answers=stored_answers(self.run.store, digest([self.about, "test", count])),
        )

    def _table(self, name: str, probe: Probe) -> NDArray[np.float64]:
        """Minus the loss of every example under every subset of layers (2^layers, examples)."""
        subsets = probe.subsets()
        # Subsets that begin alike are asked together; in parts, so that a kill loses little.
        by_prefix = sorted(subsets, key=lambda kept: [layer in kept for layer in range(self.depth)])
        for start in range(0, len(by_prefix), SUBSETS_AT_ONCE):
            probe.evaluate(by_prefix[start : start + SUBSETS_AT_ONCE], "loss")
            self.run.bus.emit("progress", f"table of {name}", done=start, total=len(by_prefix))
        table = probe.evaluate(subsets, "loss")
        lost = np.isinf(table).sum(axis=1)
        if lost.any():
            worst = int(lost.argmax())
            some = (
                f"{int((lost > 0).sum())} of {len(subsets)} sets of layers give losses that are not finite; the model "
            )
            said = (
                f"{some}with just layers {_shown(subsets[worst])}: on {lost[worst]} of {probe.examples} {name} examples"
            )
            raise LwaError(said, "a benchmark needs finite ones: train with a lower learning rate or in float32")
        return table

    @cached_property
    def calibration(self) -> tuple[SubsetAnswers, float]:
        """The answers for all subsets on the calibration examples, and the CPU-seconds that they took."""
        answers = stored_answers(self.run.store, self.about)

        def make(job: Job) -> None:
            fresh = SubsetAnswers(keep=answers.keep)
            started = time.process_time()
            self._table("calibration", self.probe(fresh))
            write_json(job.folder / "table.json", {"cpu_seconds": time.process_time() - started})

        name = "table of calibration"
        stage = Stage(name, "bench-table", VERSION, make, _read("table.json"), self.inputs, self.asked)
        seconds = float(self.run.value(stage)["cpu_seconds"])
        self._table("calibration", self.probe(answers))
        return answers, seconds

    @property
    def table_cpu(self) -> float:
        return self.calibration[1]

    def _ranked(self) -> NDArray[np.float64] | None:
        """NDCG of every test example of the table under every subset (2^layers, examples); None: it has none."""
        probe = self.test_probe
        return None if probe.k is None else probe.evaluate(probe.subsets(), "ndcg")

    # What the scorers and selectors answer

    def _entry(self, use: Use) -> dict[str, Any]:
        """What one scorer or selector chose, from the store or made now."""
        # What an entry chooses does not depend on the test examples; its controls are judged on them.
        judged = [self.bench.measure.test] if self.controlled else []
        asked = {**self.asked, "judged": judged, "combines": self._combined(use)}
        make = partial(self._make, self._make_scores if use.kind == "scorer" else self._make_sets, use)
        read = _read("entry.json")
        stage = Stage(f"{use.kind} {use.name}", "bench-entry", VERSION, make, read, self.inputs, asked, use=use)
        return {**self.run.value(stage), "folder": self.run.path(stage)}

    def _combined(self, use: Use) -> list[Any]:
        """What a scorer that combines others depends on, or a selector that follows one."""
        if use.kind == "scorer":
            others = combined_by(use, self.bench.scorers) if use.combines else ()
        else:
            others = self.bench.scorers
        return [[other.name, other.component, other.settings] for other in others]

    def _make(self, make: Callable[[Use, Path], dict[str, Any]], use: Use, job: Job) -> None:
        write_json(job.folder / "entry.json", make(use, job.folder))

    def _make_scores(self, use: Use, folder: Path) -> dict[str, Any]:
        scored, cpu = self._scored(use, self._counting_probe())
        write_scores(folder, scored)
        order = scored.scores.order()
        return {
            "kept": [sorted(order[removed:]) for removed in self.removals],
            "passes": scored.passes,
            "cpu_seconds": cpu,
            "stability": scored.scores.stability(),
            **self._controls(use),
        }

    def _make_sets(self, use: Use, folder: Path) -> dict[str, Any]:
        probe = self._counting_probe()
        started = time.process_time()
        counts = tuple(self.depth - removed for removed in self.removals)
        selection = TeacherSelection(self.depth, self.recipe.seed, self.board, lambda: probe)
        selector = attrs.evolve(use.instance, keep=counts)
        self.teacher.sample()
        with probe.calls.watched():
            plan = selected(use.who, selector, selection, self.teacher, probe.remembered)
        cpu = time.process_time() - started + probe.borrowed
        # A selector may leave out the passes that measured what it chose: at most one for each set, and the full one.
        passes = max(plan.trace.get("passes", probe.cost), probe.cost - len(counts) - 1) + probe.undeclared
        return {"kept": [list(tier) for tier in plan.tiers], "passes": passes, "cpu_seconds": cpu}

    @cached_property
    def board(self) -> ScoreBoard:
        """The scores of all scorers that need no others'."""
        return self._board([use for use in self.bench.scorers if not use.combines])

    def _board(self, uses: Sequence[Use]) -> ScoreBoard:
        return ScoreBoard({use.name: read_scores(use.name, self._entry(use)["folder"]) for use in uses})

    def _scored(self, use: Use, probe: _CountingProbe) -> tuple[Scored, float]:
        """A scorer asked alone: its table, what it cost, and its CPU-seconds."""
        started = time.process_time()
        if use.combines:
            scored = combined_scores(use, self._board(combined_by(use, self.bench.scorers)), self.recipe.seed)
        elif is_observing(use):
            scored = self._observed(use, probe)
        else:
            with probe.calls.watched():
                scored = queried_scores(use, probe)
            scored = attrs.evolve(scored, passes=scored.passes + probe.undeclared)
        return scored, time.process_time() - started + probe.borrowed

    def _observed(self, use: Use, probe: _CountingProbe) -> Scored:
        """An observing scorer: the shared pass, and what the scorer asks besides when it makes its table."""
        if use.instance.observes & (WEIGHTS | SAMPLED):
            one_at_a_time(probe, Weights(probe.model))  # seen once for each model, at nobody's cost
        assert_states_by_example(probe, use.instance.observes)  # likewise
        with probe.calls.watched():
            scored = observed_scores([use], probe, Quiet())[use.name]
        own = max(probe.declared, probe.calls.passes - scored.passes)
        return attrs.evolve(scored, passes=scored.passes + (own if own > NEGLIGIBLE else 0.0))

    def _counting_probe(self) -> _CountingProbe:
        answers, cpu = self.calibration
        plain = self.probe()
        counting = _CountingProbe(
            plain.model,
            plain.subject,
            plain.histories,
            plain.targets,
            utility=plain.utility,
            repair=plain.repair,
            k=plain.k,
            filter_seen=plain.filter_seen,
            batch=plain.batch,
            seed=plain.seed,
            training_targets=plain.training_targets,
            batching=plain.batching,  # seen once for each model, and no scorer's cost
        )
        _ = counting.replays
        counting.settle()
        counting.table, counting.table_cpu = answers, cpu
        counting.calls = LayerCalls(plain.model, plain.examples)
        return counting

    # Controls

    def _controls(self, use: Use) -> dict[str, Any]:
        """Where a scorer puts layers that are known not to matter: 1 is last."""
        if not self.controlled or use.combines:
            return {}
        at = self.depth // 2
        places = {}
        for kind in self.plantable:
            planted, possible = plant(self.teacher.layered, kind, at, self.recipe.seed)
            order = self._scores_on(use, planted).order()
            places[kind] = min(order.index(layer) for layer in possible) + 1
        order = self._scores_on(use, self.untrained[0]).order()
        kept = [sorted(order[removed:]) for removed in self.removals]
        told = compared(self.untrained[1], self.depth, kept, self.removals)
        return {"planted": places, "untrained_gain": told["gain"]}

    @cached_property
    def plantable(self) -> tuple[str, ...]:
        """The kinds of planted layers that this model can have: not every block with empty branches does nothing."""
        others = tuple(kind for kind in KINDS if kind != "identity")
        try:
            idle, _ = plant(self.teacher.layered, "identity", self.depth // 2, self.recipe.seed)
        except ModelError:
            return others
        probe = make_probe(self.task, self.data, self.teacher, Quiet(), network=idle)
        losses, own = (p.evaluate([tuple(range(p.model.depth))], "loss") for p in (probe, self.probe()))
        # Where norms stand on the residual path (post-norm), it changes what comes in all the same.
        return KINDS if np.allclose(losses, own, rtol=1e-3, atol=1e-3) else others

    def _scores_on(self, use: Use, network: LayeredModel) -> LayerScores:
        probe = make_probe(self.task, self.data, self.teacher, Quiet(), network=network)
        if is_observing(use):
            return observed_scores([use], probe, Quiet())[use.name].scores
        return queried_scores(use, probe).scores

    @cached_property
    def untrained(self) -> tuple[LayeredModel, NDArray[np.float64]]:
        """A model with random weights, and its table on the test examples."""
        subject = self.teacher.subject
        model = layered(self.task.untrained(self.data, self.teacher), subject)
        seen = self.test_probe
        probe = Probe(model, subject, seen.histories, seen.targets, batch=seen.batch)
        return model, probe.evaluate(probe.subsets(), "loss")

    # What is told of an entry

    def _told(
        self, use: Use, made: Mapping[str, Any], test: NDArray[np.float64], ranked: NDArray[np.float64] | None
    ) -> dict[str, Any]:
        kept = [tuple(tier) for tier in made["kept"]]
        told = {key: value for key, value in made.items() if key != "folder"}
        measure = self.bench.measure
        return {
            "name": use.name,
            "component": use.component,
            "kind": use.kind,
            **told,
            **compared(test, self.depth, kept, self.removals),
            "kept_quality": None if ranked is None else share_of(ranked, kept),
            "agrees": self._agrees(made["folder"]) if use.kind == "scorer" else None,
            "healed": [self._healed(kept[self._removed(share) - 1]) for share in measure.healed],
        }

    def _removed(self, share: float) -> int:
        return int(min(max(round(share * self.depth), 1), self.removals[-1]))

    def _agrees(self, folder: Path) -> dict[str, float]:
        """Rank correlation with leave-one-out and with the exact Shapley values of the calibration examples."""
        own = read_scores("", folder).mean
        return {name: float(spearman(own, values)) for name, values in self.references.items()}

    @cached_property
    def references(self) -> dict[str, NDArray[np.float64]]:
        """Leave-one-out and exact Shapley values of the layers, from the table of the calibration examples."""
        table = self._table("calibration", self.probe(self.calibration[0])).mean(axis=1)
        full = len(table) - 1
        alone = np.array([table[full] - table[full & ~(1 << layer)] for layer in range(self.depth)])
        return {"leave-one-out": alone, "shapley": shapley_weights(self.depth) @ table}

    def _healed(self, kept: Kept) -> dict[str, Any]:
        """The quality on all test examples: of the cut model, repaired, and after the healing budget."""
        asked = {**self.asked, "kept": list(kept)}
        name = f"rank cut {_shown(kept)}"
        make, read = partial(self._rank_cut, kept), _read("cut.json")
        cut = self.run.value(Stage(name, "bench-cut", VERSION, make, read, self.inputs, asked))
        told: dict[str, Any] = {"kept": list(kept), "cut": cut[self.task.metric], "repaired": None, "healed": None}
        names = [name for name in ("repair", "heal") if getattr(self.bench, name) is not None]
        if names:
            (tier,) = self.plan.tiers(DepthPlan(self.depth, [kept]))
            for name, made, ranked in zip(names, tier.models, tier.qualities, strict=True):
                model = attrs.evolve(made, name=f"{name} {_shown(kept)}")
                inputs = {**ranked.inputs, "model": model}
                quality = attrs.evolve(ranked, name=f"rank {name} {_shown(kept)}", inputs=inputs)
                told[f"{name}ed"] = self.task.headline(self.run.value(quality))
        return told

    def _rank_cut(self, kept: Kept, job: Job) -> None:
        with self.teacher.layered.skipping(kept):
            quality = self.task.quality_of(self.data, self.teacher, job.report)
        write_json(job.folder / "cut.json", {self.task.metric: quality})


class _CountingProbe(Probe):
    """A probe that knows nothing, but takes the table of all subsets where all of it is asked for.

    The CPU-seconds that the table took, measured when it was made, are added to those of whoever takes it.
    """

    table: SubsetAnswers
    table_cpu: float
    calls: LayerCalls
    borrowed: float = 0.0
    declared: float = 0.0

    @property
    def undeclared(self) -> float:
        """Passes that were made beside this probe's own and were not counted by whoever made them."""
        own = self.calls.passes - self.declared
        return own if own > NEGLIGIBLE else 0.0

    def count_passes(self, passes: float) -> None:
        self.declared += passes
        super().count_passes(passes)

    def gate_gradients(self, gates: Sequence[float] | None = None) -> NDArray[np.float64]:
        with self.calls.paused():
            return super().gate_gradients(gates)

    def _answer(self, new: list[Kept], besides: str) -> None:
        if besides or len(new) < 2**self.depth - 1:
            with self.calls.paused():
                super()._answer(new, besides)
            return
        self.borrowed += self.table_cpu
        for kept in new:
            self._answers.losses[kept] = self.table.losses[kept]
            self._answers.ranks[kept] = self.table.ranks[kept]
            self._answers.tied[kept] = self.table.tied[kept]


def _read(file: str) -> Callable[[Path], Any]:
    return lambda folder: read_json(folder / file)


def _shown(kept: Sequence[int]) -> str:
    return ",".join(map(str, kept))
