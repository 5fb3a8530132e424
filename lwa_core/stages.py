"""What each stage of a run computes, and how its result is written and read. JSON and safetensors only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from lwa_core.data import Examples, PreparedData
from lwa_core.data.prepare import prepare
from lwa_core.data.timed import TimedHistory, asks_for_times
from lwa_core.errors import LwaError, ModelError, PluginError
from lwa_core.evaluation.optimum import optimality_of
from lwa_core.evaluation.ranking import Ranking, rank_examples
from lwa_core.fitting import fit_model, score_histories, train_on
from lwa_core.modeling.answers import Answers
from lwa_core.modeling.layered import LayeredModel
from lwa_core.modeling.observation import finished, observe, passes
from lwa_core.modeling.probe import Probe
from lwa_core.modeling.sizes import memory_bytes, parameter_count
from lwa_core.plan import ALL_ASKED
from lwa_core.protocols import Batch, ObservingScorer, Recommender, Reporter
from lwa_core.ranker import Ranker, load_ranker
from lwa_core.store import Store, damage, digest, read_json, write_json
from lwa_core.training import Trained, TrainingSettings
from lwa_core.types import DepthPlan, LayerCosts, LayerScores, ScoreBoard

if TYPE_CHECKING:
    from lwa_core.recipe import Recipe, Use

MODEL = "model"


def prepared(recipe: Recipe, report: Reporter) -> PreparedData:
    """Read, filter and split the data of a recipe; with the times of events where the recommender asks for them."""
    data = prepare(recipe.data.instance.read(), recipe.filter, recipe.split, recipe.seed, report)
    return data if asks_for_times(recipe.recommender.instance) else attrs.evolve(data, times=None)


def fit_teacher(recipe: Recipe, data: PreparedData, folder: Path, workspace: Path, report: Reporter) -> None:
    """Train the full model and write it."""
    filter_seen = recipe.evaluate.filter_seen
    recommender: Recommender = recipe.recommender.instance
    model, trained = fit_model(
        recommender, data, folder=workspace, seed=recipe.seed, filter_seen=filter_seen, report=report
    )
    write_model(folder, as_ranker(recipe, data, model), range(layered(model, recommender).depth), trained)


def as_ranker(recipe: Recipe, data: PreparedData, model: torch.nn.Module) -> Ranker:
    """The model with what it takes to use it."""
    use = recipe.recommender
    return Ranker(model, use.instance, data.catalogue, use.component, use.settings, recipe.evaluate.filter_seen)


def write_model(folder: Path, ranker: Ranker, layers: Sequence[int], trained: Trained | None) -> None:
    """Write a model and its facts, and make sure that what was written gives the same scores again.

    Raises:
        ModelError: The reloaded model answers differently.
    """
    target = folder / MODEL
    target.mkdir()
    ranker.save(target)
    _assert_round_trip(ranker, target)
    write_json(
        folder / "facts.json",
        {
            "layers": list(layers),
            "depth": layered(ranker.model, ranker.recommender).depth,
            "parameters": parameter_count(ranker.model),
            "bytes_memory": memory_bytes(ranker.model),
            "training": attrs.asdict(trained) if trained is not None and trained.history else None,
        },
    )


def _assert_round_trip(ranker: Ranker, folder: Path) -> None:
    rng = np.random.default_rng(0)
    histories = [rng.integers(0, len(ranker.catalogue), length).astype(np.int32) for length in (1, 3, 10)]
    if asks_for_times(ranker.recommender):
        histories = [TimedHistory(h, rng.integers(0, 10**9, len(h)).cumsum()) for h in histories]
    with torch.no_grad():
        before = score_histories(ranker.recommender, ranker.model, histories).double()
        after = score_histories(ranker.recommender, ranker.recommender.load(folder), histories).double()
    error = float((before - after).abs().max())
    if not error <= 1e-5 * max(1.0, float(before.abs().max())):
        raise ModelError(f"the saved model gives other scores than the one in memory (off by {error:.3g})")


def drawn(examples: Examples, count: int, seed: int) -> Examples:
    """At most `count` of the examples, drawn with the seed, in their order."""
    if len(examples) <= count:
        return examples
    return examples.take(np.sort(np.random.default_rng(seed).choice(len(examples), size=count, replace=False)))


def make_probe(
    recipe: Recipe, data: PreparedData, teacher: LayeredModel, report: Reporter, answers: Answers | None = None
) -> Probe:
    """A probe of the teacher on the recipe's calibration examples."""
    asked = recipe.calibration
    examples = drawn(data.calibration, asked.examples, recipe.seed)
    return Probe(
        teacher,
        recipe.recommender.instance,
        data.histories(examples),
        data.targets(examples),
        utility=asked.utility,
        batch=asked.batch,
        seed=recipe.seed,
        report=report,
        answers=answers,
        training_targets=sum(max(0, len(sequence) - 1) for sequence in data.training_sequences()),
    )


def stored_answers(store: Store, about: str) -> Answers:
    """What the store knows of a model with layers left out; new answers are added to it.

    Args:
        store: Where they lie, one result for every family of subsets that was asked for.
        about: Key of the model and the calibration examples.
    """
    answers = Answers()
    for folder in sorted(store.path("answers", about[:32]).parent.glob(f"{about[:32]}-*")):
        if damage(folder) is None:
            answers.learn(load_file(folder / "answers.safetensors"))

    def keep(arrays: dict[str, np.ndarray[Any, Any]]) -> None:
        name = digest([sorted(arrays), arrays["kept"].tolist()])

        def make(folder: Path) -> None:
            contiguous = {key: np.ascontiguousarray(value) for key, value in arrays.items()}
            save_file(contiguous, folder / "answers.safetensors")

        store.get_or_make("answers", f"{about[:32]}-{name[:32]}", make)

    answers.keep = keep
    return answers


def observed_scores(uses: Sequence[Use], probe: Probe, report: Reporter) -> dict[str, Scored]:
    """The tables of all observing scorers, from one pass over the calibration examples."""
    needs = frozenset().union(*(use.instance.observes for use in uses))
    draws = max((getattr(use.instance, "draws", 1) for use in uses), default=1)
    parts: dict[str, list[torch.Tensor]] = {use.name: [] for use in uses}
    done = 0
    for seen in observe(probe, needs, draws=draws):
        for use in uses:
            parts[use.name].append(use.instance.observe(seen))
        done += len(seen.mask)
        report.progress(done, probe.examples, "one pass for " + ", ".join(parts))
    scored = {}
    for use in uses:
        probe.facts = {}
        table = checked_table(use, finished(use.instance, parts[use.name], probe), probe.depth)
        cost = passes(use.instance.observes, getattr(use.instance, "draws", 1))
        scored[use.name] = Scored(layer_scores(use, table, probe.facts), cost)
    return scored


def queried_scores(use: Use, probe: Probe) -> Scored:
    """The table of a querying scorer."""
    table = checked_table(use, use.instance.score(probe), probe.depth)
    return Scored(layer_scores(use, table, probe.facts), probe.cost)


def combined_scores(use: Use, board: ScoreBoard) -> Scored:
    """The table of a combining scorer, made from the scores on the board."""
    table = checked_table(use, use.instance.combine(board), board[board.names[0]].depth)
    return Scored(layer_scores(use, table, {"combines": board.names}), 0.0)


@attrs.frozen
class Scored:
    """A scorer's table, and what it costs alone, in passes over the calibration examples."""

    scores: LayerScores
    passes: float


def layer_scores(use: Use, table: torch.Tensor, facts: Mapping[str, Any]) -> LayerScores:
    """A scorer's table with its name, its unit and what the scorer told besides."""
    return LayerScores(use.name, table.cpu().double().numpy(), getattr(use.instance, "unit", ""), dict(facts))


def checked_table(use: Use, table: Any, depth: int) -> torch.Tensor:
    """A scorer's table, if it is one: two axes, a column a layer, finite. Raises PluginError otherwise."""
    who = f"scorer '{use.name}' of {use.offer.provider}"
    if not isinstance(table, torch.Tensor):
        raise PluginError(f"{who} gave {type(table).__name__} instead of a tensor (samples, layers)")
    if table.dim() != 2 or table.shape[1] != depth or not len(table):
        raise PluginError(f"{who} gave a table of shape {tuple(table.shape)} instead of (samples, {depth})")
    if not bool(torch.isfinite(table).all()):
        raise PluginError(f"{who} gave scores that are not finite")
    return table.detach()


def is_observing(use: Use) -> bool:
    """Whether a scorer looks at the shared pass (else it asks the probe)."""
    return isinstance(use.instance, ObservingScorer)


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


@attrs.define
class TeacherSelection:
    """What a selector may look at: the scores, and the teacher on calibration examples."""

    depth: int
    seed: int
    board: ScoreBoard
    make_probe: Callable[[], Probe]
    _probe: Probe | None = None
    _costs: dict[str, LayerCosts] = attrs.field(factory=dict)

    @property
    def probe(self) -> Probe:
        if self._probe is None:
            self._probe = self.make_probe()
        return self._probe

    def counts(self, keep: int | Sequence[int]) -> list[int]:
        counts = [keep] if isinstance(keep, int) else list(keep)
        for count in counts:
            if count > self.depth:
                raise LwaError(f"cannot keep {count} of {self.depth} layers", "lower select.keep or raise the depth")
        return counts

    def costs(self, kind: str) -> LayerCosts:
        if kind not in self._costs:
            self._costs[kind] = measure_costs(self.probe, kind)
        return self._costs[kind]

    @property
    def asked_all(self) -> bool:
        """Whether the selector asked for every subset of the layers."""
        return self._probe is not None and self._probe.asked_all


def measure_costs(probe: Probe, kind: str) -> LayerCosts:
    """Parameters, megabytes or milliseconds of each layer, counted or timed on the model itself."""
    from lwa_core.evaluation.layer_costs import layer_milliseconds

    model = probe.model
    if kind == "milliseconds":
        return layer_milliseconds(probe)

    def size(module: torch.nn.Module) -> float:
        return float(parameter_count(module)) if kind == "parameters" else memory_bytes(module) / 1e6

    layers = tuple(size(layer) for layer in model.layers)
    return LayerCosts(kind, layers, size(model.base) - sum(layers))


def note_all_asked(folder: Path, asked_all: bool) -> None:
    """Write down with a stage's result that it asked for every subset of the layers, if it did."""
    if asked_all:
        write_json(folder / ALL_ASKED, {"all_subsets": True})


def write_optimality(folder: Path, probe: Probe, tiers: Sequence[tuple[int, ...]], recipe: Recipe) -> None:
    """Set the chosen layers beside all subsets, on the calibration examples."""
    evaluate = recipe.evaluate
    told = optimality_of(
        probe.evaluate(probe.subsets()),
        tiers,
        utility=probe.utility,
        resamples=evaluate.bootstrap,
        confidence=evaluate.confidence,
        seed=recipe.seed,
    )
    write_json(folder / "optimality.json", told)


def write_selection(folder: Path, plan: DepthPlan) -> None:
    """Write a depth plan."""
    write_json(folder / "plan.json", attrs.asdict(plan))


@attrs.define
class Job:
    """What a compressor works on (the protocol is `lwa_core.protocols.CompressionJob`)."""

    teacher: LayeredModel
    student: LayeredModel
    kept: tuple[int, ...]
    recommender: Recommender
    data: PreparedData
    seed: int
    workspace: Path
    report: Reporter
    filter_seen: bool
    trained: Trained | None = None

    def cut(self) -> LayeredModel:
        if self.student.depth == len(self.kept):
            return self.student
        return self.student.keep(self.kept)

    def train(
        self,
        model: torch.nn.Module,
        loss: Callable[[torch.nn.Module, Batch], torch.Tensor],
        settings: TrainingSettings,
    ) -> torch.nn.Module:
        if settings.epochs and not any(parameter.requires_grad for parameter in model.parameters()):
            hint = "a step that trains all weights, as `distill` does, comes before `qlora`"
            raise ModelError("no weight of the student can be trained any more", hint)
        self.trained = train_on(
            self.recommender,
            self.data,
            model,
            loss,
            settings,
            folder=self.workspace,
            seed=self.seed,
            filter_seen=self.filter_seen,
            report=self.report,
        )
        return model


def compress(use: Use, recipe: Recipe, job: Job, folder: Path) -> None:
    """Run one compression step and write the student."""
    torch.manual_seed(job.seed)
    model = use.instance.compress(job)
    if not isinstance(model, torch.nn.Module):
        raise PluginError(f"compressor '{use.name}' of {use.offer.provider} gave {type(model).__name__}, not a model")
    model.eval()
    write_model(folder, as_ranker(recipe, job.data, model), job.kept, job.trained)


def load_model(folder: Path, recipe: Recipe) -> LayeredModel:
    """The model that a stage wrote."""
    ranker = load_ranker(folder / MODEL, recipe.registry)
    return layered(ranker.model, ranker.recommender)


def layered(model: torch.nn.Module, recommender: Recommender) -> LayeredModel:
    """The model's layers: found by themselves, or where the recommender's `blocks` says."""
    return LayeredModel(model, getattr(recommender, "blocks", None))


def rank_test(scores: Any, recipe: Recipe, data: PreparedData, report: Reporter) -> Ranking:
    """Rank the test examples over the full catalogue."""
    depth = max(recipe.evaluate.k)
    return rank_examples(scores, data, data.test, filter_seen=recipe.evaluate.filter_seen, depth=depth, report=report)


def write_rankings(folder: Path, rankings: Mapping[str, Ranking]) -> None:
    """Write the ranks and top lists of one or more models."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for name, ranking in rankings.items():
        arrays[f"{name}.ranks"], arrays[f"{name}.top"] = ranking.ranks, ranking.top
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / "rankings.safetensors")


def read_rankings(folder: Path) -> Iterator[tuple[str, Ranking]]:
    """Read what `write_rankings` wrote."""
    arrays = load_file(folder / "rankings.safetensors")
    for name in sorted(key.removesuffix(".ranks") for key in arrays if key.endswith(".ranks")):
        yield name, Ranking(arrays[f"{name}.ranks"], arrays[f"{name}.top"])
