"""Carry a plan out: every stage that the store does not have, in order, then the files of the run folder."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import tomli_w
import torch

from lwa_core import stages
from lwa_core.data import PreparedData
from lwa_core.data.saving import load_prepared, save_prepared
from lwa_core.errors import LwaError, NeedsError, StageError, StoreError
from lwa_core.evaluation.ranking import Ranking
from lwa_core.evaluation.yardsticks import bigram, item_knn, popularity
from lwa_core.events import Bus, Listener, StageReporter
from lwa_core.metrics import assemble
from lwa_core.modeling.answers import Answers
from lwa_core.modeling.layered import LayeredModel
from lwa_core.modeling.probe import Probe
from lwa_core.plan import Plan, Stage, Tier, all_asked, make_plan, read_selection
from lwa_core.ranker import load_ranker
from lwa_core.recipe import Recipe, Use, combined_by
from lwa_core.store import Store, digest, explained, read_json, write_atomically, write_json
from lwa_core.types import DepthPlan, RunContext, ScoreBoard

Make = Callable[[Path, StageReporter], None]


def run_folder(recipe: Recipe, store: Store) -> Path:
    """Where a recipe's run lies: the same recipe with the same settings always has the same folder."""
    return store.root / "runs" / f"{recipe.name}-{digest(recipe.resolved())[:8]}"


def run_recipe(recipe: Recipe, store: Store, listeners: Sequence[Listener] = ()) -> Path:
    """Run a recipe, using what the store has. Returns the run folder.

    Raises:
        NeedsError: The machine lacks what a component needs; nothing was run.
        StageError: A stage failed. What was finished is stored, and running the recipe again goes on from there.
        StoreError: The results cannot be written.
    """
    lacking = {use.name: missing for use in recipe.uses if (missing := recipe.registry.lacking(use.offer.component))}
    if lacking:
        said = "; ".join(f"{name} needs {', '.join(missing)}" for name, missing in lacking.items())
        raise NeedsError(f"this machine lacks what the recipe needs: {said}")
    folder = run_folder(recipe, store)
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "recipe.toml", recipe.text.encode())
    write_atomically(folder / "resolved.toml", tomli_w.dumps(recipe.resolved()).encode())
    bus = Bus(recipe.registry, RunContext(recipe.name, folder), listeners)
    bus.emit("run-started")
    Execution(recipe, store, make_plan(recipe), bus, folder).carry_out()
    bus.emit("run-finished")
    return folder


class Execution:
    """One execution of a plan. Data and teacher are loaded when a stage first needs them."""

    def __init__(self, recipe: Recipe, store: Store, plan: Plan, bus: Bus, folder: Path) -> None:
        self.recipe, self.store, self.plan, self.bus, self.folder = recipe, store, plan, bus, folder
        self.warnings: list[dict[str, str]] = []
        self.timings: list[dict[str, Any]] = []
        self.score_folders: dict[str, Path] = {}
        self.observed: dict[str, Any] = {}

    def prepare(self) -> None:
        """The data and the full model."""
        self.data_folder = self.stage(self.plan.data, self._make_data)
        self.teacher_folder = self.stage(self.plan.teacher, self._make_teacher)

    def carry_out(self) -> None:
        """Everything, and the files of the run folder."""
        self.prepare()
        for stage in self.plan.scores:
            self.score_folders[stage.name] = self.stage(stage, partial(self._make_scores, stage))
        selection_folder = self.stage(self.plan.select, self._make_selection)
        depth_plan = read_selection(selection_folder)
        optimality = self._optimality(depth_plan, [*self.score_folders.values(), selection_folder])
        tiers = self.plan.tiers(depth_plan)
        models = {"teacher": self.teacher_folder}
        for tier in tiers:
            self._compress_tier(tier, models)
        rankings = self._rankings(tiers, models)
        self._link_models(models)
        self._write_metrics(depth_plan, tiers, models, rankings, optimality)
        self._write_performance([self.plan.teacher, *(model for tier in tiers for model in tier.models)])

    # What the stages share

    @cached_property
    def data(self) -> PreparedData:
        return load_prepared(self.data_folder)

    @cached_property
    def teacher(self) -> LayeredModel:
        return stages.load_model(self.teacher_folder, self.recipe)

    @cached_property
    def board(self) -> ScoreBoard:
        return self._board(self.recipe.scorers)

    def _board(self, uses: Sequence[Use]) -> ScoreBoard:
        read = {use.name: stages.read_scores(use.name, self.score_folders[f"score {use.name}"]) for use in uses}
        baselines = frozenset(use.name for use in uses if use.baseline)
        return ScoreBoard(read, baselines, frozenset(use.name for use in uses if use.combines))

    @cached_property
    def answers(self) -> Answers:
        return stages.stored_answers(self.store, self.plan.answers)

    def _probe(self, report: StageReporter) -> Probe:
        """One that knows all answers given before, but draws anew: what a stage draws depends on the seed alone."""
        return stages.make_probe(self.recipe, self.data, self.teacher, report, self.answers)

    # Stages

    def _make_data(self, folder: Path, report: StageReporter) -> None:
        save_prepared(stages.prepared(self.recipe, report), folder)

    def _make_teacher(self, folder: Path, report: StageReporter) -> None:
        workspace = self.store.workspace(self.plan.teacher.kind, self.plan.teacher.key)
        stages.fit_teacher(self.recipe, self.data, folder, workspace, report)

    def _make_scores(self, stage: Stage, folder: Path, report: StageReporter) -> None:
        assert stage.use is not None
        if stage.use.combines:
            parts = self._board(combined_by(stage.use, self.recipe.scorers))
            stages.write_scores(folder, stages.combined_scores(stage.use, parts))
            return
        probe = self._probe(report)
        if not stages.is_observing(stage.use):
            scored = stages.queried_scores(stage.use, probe)
            stages.note_all_asked(folder, probe.asked_all)
        else:
            if stage.use.name not in self.observed:
                self.observed = stages.observed_scores(self._unstored_observers(), probe, report)
            scored = self.observed[stage.use.name]
        stages.write_scores(folder, scored)

    def _unstored_observers(self) -> list[Any]:
        """The observing scorers whose tables are still to be made: they share one pass."""
        missing = [stage for stage in self.plan.scores if not self.store.has(stage.kind, stage.key)]
        return [stage.use for stage in missing if stage.use is not None and stages.is_observing(stage.use)]

    def _make_selection(self, folder: Path, report: StageReporter) -> None:
        selection = stages.TeacherSelection(
            depth=self.teacher.depth,
            seed=self.recipe.seed,
            board=self.board,
            make_probe=lambda: self._probe(report),
        )
        stages.write_selection(folder, self.recipe.select.instance.select(selection))
        stages.note_all_asked(folder, selection.asked_all)

    def _optimality(self, plan: DepthPlan, folders: Sequence[Path]) -> Any:
        """How far the chosen layers are from the best, where a stage of this run asked for every subset of them."""
        if not all_asked(folders):
            return None

        def make(folder: Path, report: StageReporter) -> None:
            stages.write_optimality(folder, self._probe(report), plan.tiers, self.recipe)

        return read_json(self.stage(self.plan.optimality(plan), make) / "optimality.json")

    def _compress_tier(self, tier: Tier, models: dict[str, Path]) -> None:
        upstream = self.teacher_folder
        for stage in tier.models:
            upstream = self.stage(stage, partial(self.make_student, stage, tier.layers, upstream))
            models[stage.name] = upstream

    def make_student(
        self, stage: Stage, layers: tuple[int, ...], upstream: Path, folder: Path, report: StageReporter
    ) -> None:
        """One compression step, on the model that lies in `upstream`."""
        assert stage.use is not None
        job = stages.Job(
            teacher=self.teacher,
            student=stages.load_model(upstream, self.recipe),
            kept=layers,
            recommender=self.recipe.recommender.instance,
            data=self.data,
            seed=self.recipe.seed,
            workspace=self.store.workspace(stage.kind, stage.key),
            report=report,
            filter_seen=self.recipe.evaluate.filter_seen,
        )
        stages.compress(stage.use, self.recipe, job, folder)

    def _rankings(self, tiers: Sequence[Tier], models: Mapping[str, Path]) -> dict[str, Ranking]:
        """The test rankings of all models and yardsticks, the teacher's first."""
        teacher_stage, yardsticks_stage = self.plan.rankings
        jobs = [(teacher_stage, "teacher")]
        jobs += [(r, m.name) for tier in tiers for r, m in zip(tier.rankings, tier.models, strict=True)]
        rankings = {}
        for stage, name in jobs:
            path = self.stage(stage, partial(self.make_ranking, models[name]))
            rankings[name] = dict(stages.read_rankings(path))["model"]
        rankings.update(stages.read_rankings(self.stage(yardsticks_stage, self._make_yardsticks)))
        return rankings

    def make_ranking(self, model: Path, folder: Path, report: StageReporter) -> None:
        """The test ranking of the model that lies in the folder `model`."""
        ranker = load_ranker(model / stages.MODEL, self.recipe.registry)
        ranking = stages.rank_test(ranker.scores, self.recipe, self.data, report)
        stages.write_rankings(folder, {"model": ranking})

    def _make_yardsticks(self, folder: Path, report: StageReporter) -> None:
        fitted = [popularity(self.data), bigram(self.data), item_knn(self.data)]
        ranked = {y.name: stages.rank_test(y.scores, self.recipe, self.data, report) for y in fitted}
        stages.write_rankings(folder, ranked)

    # The run folder

    def _link_models(self, models: Mapping[str, Path]) -> None:
        """Put the models into the run folder, as links to the store's files where the file system can."""
        for name, source in models.items():
            target = self.folder / "models" / name
            with explained(target):
                _mirror(source / stages.MODEL, target)

    def _write_metrics(
        self,
        plan: DepthPlan,
        tiers: Sequence[Tier],
        models: Mapping[str, Path],
        rankings: Mapping[str, Ranking],
        optimality: Any,
    ) -> None:
        facts = {name: read_json(path / "facts.json") for name, path in models.items()}
        metrics = assemble(self.recipe, self.data, self.board, plan, tiers, models, facts, rankings, self.warnings)
        write_json(self.folder / "metrics.json", {**metrics, "optimality": optimality})

    def _write_performance(self, models: Sequence[Stage]) -> None:
        stage = self.plan.performance(models)
        path = self.stage(stage, partial(self._make_performance, [model.name for model in models]))
        measured = read_json(path / "performance.json")
        write_json(self.folder / "performance.json", {**measured, "stages": self.timings})

    def _make_performance(self, names: Sequence[str], folder: Path, report: StageReporter) -> None:
        from lwa_core.evaluation.performance import machine
        from lwa_core.measuring import measure_models

        folders = {name: self.folder / "models" / name for name in names}
        measured = measure_models(folders, self.recipe, self.data, report)
        write_json(folder / "performance.json", {"machine": machine(), **measured})

    # One stage

    def stage(self, stage: Stage, make: Make) -> Path:
        """The folder of a stage's result, computed if the store does not have it."""
        report = StageReporter(self.bus, stage.name)
        started = time.perf_counter()

        def compute(folder: Path) -> None:
            self.bus.emit("stage-started", stage.name)
            make(folder, report)
            write_json(folder / "stage.json", {"warnings": report.warnings})

        path, reused = self._guarded(stage, compute, report)
        seconds = round(time.perf_counter() - started, 3)
        self.bus.emit("stage-reused" if reused else "stage-finished", stage.name, seconds=seconds)
        self.timings.append({"stage": stage.name, "seconds": seconds, "reused": reused})
        kept = read_json(path / "stage.json")["warnings"]
        self.warnings += [{**warning, "stage": stage.name} for warning in kept]
        return path

    def _guarded(self, stage: Stage, compute: Callable[[Path], None], report: StageReporter) -> tuple[Path, bool]:
        try:
            return self.store.get_or_make(
                stage.kind,
                stage.key,
                compute,
                facts={"stage": stage.name},
                on_damage=report.note,
                on_wait=lambda: report.note("another run is making the same result; waiting for it"),
            )
        except StoreError:
            raise
        except Exception as error:
            raise self._failure(stage, error) from error

    def _failure(self, stage: Stage, error: Exception) -> StageError:
        """Which stage, which line of the recipe, whose component, and how to go on."""
        line = self.recipe.line(stage.use.path) if stage.use is not None else None
        where = f" ({self.recipe.file}:{line})" if self.recipe.file is not None and line is not None else ""
        who = "" if stage.use is None else f"{stage.use.kind} '{stage.use.component}' of {stage.use.offer.provider}: "
        hint: str | None
        if isinstance(error, torch.OutOfMemoryError):
            what, hint = "the GPU has too little memory", "lower a batch size"
        elif isinstance(error, LwaError):
            what, hint, who = error.message, error.hint, ""
        else:
            what, hint = f"{type(error).__name__}: {error}", "LWA_TRACEBACK=1 shows where"
        rest = f"{len(self.timings)} stages before it are stored; the same command goes on from there"
        failure = StageError(f"stage '{stage.name}'{where} failed: {who}{what}", f"{hint}; {rest}" if hint else rest)
        if isinstance(error, LwaError):
            failure.exit_code = error.exit_code
        return failure


def _mirror(source: Path, target: Path) -> None:
    """Make `target` hold the files of `source` and no others.

    File by file, each put in place whole: another run of the same recipe may be doing the same.
    """
    wanted = {path.relative_to(source) for path in source.rglob("*") if path.is_file()}
    for name in wanted:
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = place.with_name(f".{place.name}.{os.getpid()}")
        _link(source / name, temporary)
        os.replace(temporary, place)
        temporary.unlink(missing_ok=True)  # renaming onto a link to the same file does nothing
    for path in [*target.rglob("*")]:
        if path.is_file() and path.relative_to(target) not in wanted and not path.name.startswith("."):
            path.unlink(missing_ok=True)


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
