"""The task `recommendation`: events, a recommender that is trained, ranks over the whole catalogue."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
import numpy as np
from safetensors.numpy import load_file, save_file

from lwa_core.data.dataset import PreparedData, lent, test_digest
from lwa_core.data.moments import AUTO
from lwa_core.data.saving import ACCOUNT, ARRAYS, load_prepared, save_prepared
from lwa_core.data.timed import TimedHistory, asks_for_times
from lwa_core.errors import PluginError
from lwa_core.pipeline.graph import Inputs, Job, Stage, core_part, given
from lwa_core.pipeline.keys import digests_of
from lwa_core.pipeline.models import StoredModel, cut_or_note, read_unless_uncut, restorer_of, write_model
from lwa_core.pipeline.stages.exports import StoredBundle
from lwa_core.pipeline.task import Asked, drawn
from lwa_core.plugins.protocols import ReadsFiles, Recommender, TrainableSubject, uses_transitions
from lwa_core.plugins.restoring import facts_of
from lwa_core.plugins.returned import checked_source
from lwa_core.recipe.recipe import Recipe, Use
from lwa_core.recommendation.transitions_tuning import BUDGET, Tuned, read_tuned, write_tuned
from lwa_core.settings import unstructure
from lwa_core.statistics.rank_metrics import headline_cutoff
from lwa_core.store.files import read_json, write_json
from lwa_core.types import Batch, History, LayerScores, Quiet, Reporter, TrainingSettings

if TYPE_CHECKING:
    import torch

    from lwa_core.measuring.performance import Timed
    from lwa_core.modeling.layers.layered import LayeredModel
    from lwa_core.modeling.probing.probe import Probe
    from lwa_core.recommendation.ranker import Ranker
    from lwa_core.recommendation.ranking import Ranking, Scores
    from lwa_core.results.assembly import Quality
    from lwa_core.runtime.served import Served
    from lwa_core.training.trainer import Trained

DATA_VERSION = 4
TEACHER_VERSION = 4
RANKING_VERSION = 4
BASELINES_VERSION = 4
TRANSITIONS_VERSION = 1

REFIT = (
    "every model and baseline that is measured was trained anew on the training and validation parts together, for the "
    "epochs that were best before; layers were chosen, and training curves are shown, of those before"
)

PARTS = ("ranks", "top", "tied", "among_sampled")

Rankings: TypeAlias = "dict[str, Ranking]"


@attrs.frozen(eq=False)
class Baselines:
    """How the baselines rank, and by name how those with settings were fitted, JSON-ready."""

    rankings: Rankings
    fitted: Mapping[str, Mapping[str, Any]]


@attrs.frozen(eq=False)
class RankerModel:
    """A ranker as the pipeline sees it."""

    ranker: Ranker
    layered: LayeredModel

    @classmethod
    def of(cls, ranker: Ranker) -> RankerModel:
        from lwa_core.modeling.probing.asked import layered

        return cls(ranker, layered(ranker.model, ranker.recommender))

    @property
    def subject(self) -> Recommender:
        return self.ranker.recommender

    @property
    def loads(self) -> Sequence[str]:
        """Its recommender reads it, whatever class of transformers it is made with."""
        return ("lwa_core.load",)

    def save(self, folder: Path) -> None:
        self.ranker.save(folder)

    def sample(self) -> torch.Tensor:
        import torch

        from lwa_core.recommendation.fitting import score_histories

        rng = np.random.default_rng(0)
        items = len(self.ranker.catalogue)
        histories = [rng.integers(0, items, length).astype(np.int32) for length in (1, 3, 10)]
        if asks_for_times(self.subject):
            histories = [TimedHistory(h, rng.integers(0, 10**9, len(h)).cumsum()) for h in histories]
        with torch.no_grad():
            return score_histories(self.subject, self.ranker.model, histories)


@attrs.frozen
class RecommendationTask:
    """The task of recipes that have a dataset and a recommender."""

    recipe: Recipe

    @property
    def recommender(self) -> Recommender:
        recommender: Recommender = self.recipe.recommender.instance
        return recommender

    @property
    def metric(self) -> str:
        return "ndcg@10"

    @property
    def ranked(self) -> dict[str, Any]:
        evaluate = self.recipe.evaluate
        return {"k": headline_cutoff(evaluate.k), "filter_seen": evaluate.filter_seen}

    # Data and teacher

    @property
    def files_of_histories(self) -> Sequence[str]:
        return (ARRAYS, ACCOUNT)

    def data(self) -> Stage[PreparedData]:
        recipe = self.recipe
        asked = {
            "contents": digests_of(recipe.data),
            "filter": unstructure(recipe.filter),
            "split": {name: value for name, value in unstructure(recipe.split).items() if name != "refit"},
            "times": asks_for_times(self.recommender),
            "seed": recipe.seed,
        }
        return Stage("data", "data", DATA_VERSION, self._prepare, load_prepared, {}, asked, use=recipe.data)

    def _prepare(self, job: Job, refit: bool = False) -> None:
        from lwa_core.data.prepare import prepare

        recipe = self.recipe
        source = checked_source(recipe.data.who, recipe.data.instance.read())
        report = None if refit else job.report  # it has said it all
        with core_part():
            data = prepare(source, recipe.filter, recipe.split, recipe.seed, report, refit=refit)
        save_prepared(data if asks_for_times(self.recommender) else attrs.evolve(data, times=None), job.folder)

    def teacher(self, data: Stage[PreparedData]) -> Stage[StoredModel]:
        recipe = self.recipe
        asked = {
            "contents": digests_of(recipe.recommender) if isinstance(self.recommender, ReadsFiles) else [],
            "filter_seen": recipe.evaluate.filter_seen,
            "seed": recipe.seed,
            "precision": recipe.precision,
        }
        read = partial(StoredModel, open=self.open)
        inputs: Inputs = {"data": data, **self._tuned_on(data)}
        use = recipe.recommender
        return Stage("teacher", "model", TEACHER_VERSION, self._fit, read, inputs, asked, use=use, collective=True)

    def _tuned_on(self, data: Stage[PreparedData]) -> Inputs:
        """What else a recommender is fitted with that builds on the table of transitions."""
        return {"transitions": self.transitions(data)} if uses_transitions(self.recommender) else {}

    def refitted(self, teacher: Stage[StoredModel]) -> tuple[Stage[PreparedData], Stage[StoredModel]] | None:
        if not self.recipe.split.refit:
            return None
        first = teacher.inputs["data"]
        assert isinstance(first, Stage)
        make = partial(self._prepare, refit=True)
        data = attrs.evolve(first, name="data to refit on", make=make, asked={**first.asked, "refit": True})
        inputs: Inputs = {"data": data, "tuned": teacher, **self._tuned_on(first)}
        return data, attrs.evolve(teacher, make=self._refit, inputs=inputs)

    def _refit(self, job: Job) -> None:
        tuned = job["tuned"].trained
        until = {} if tuned is None else {"stop_after": tuned.best_epoch, "share": tuned.share}
        network, _ = self._fitted(job, **until)
        model = self._model(job["data"], network)
        write_model(job.folder, model, range(model.layered.depth), tuned, self.open)

    def _fit(self, job: Job, epochs: int | None = None) -> None:
        from lwa_core.recommendation.contract import check_recommender_model

        use, data = self.recipe.recommender, job["data"]
        network, trained = self._fitted(job, epochs=epochs)
        model = self._model(data, network)
        asked, _ = self.calibration(data.only("calibration"), model)
        check_recommender_model(use.who, use.instance, network, asked, len(data.catalogue), self.recipe.seed)
        write_model(job.folder, model, range(model.layered.depth), trained, self.open)

    def _fitted(self, job: Job, **until: Any) -> tuple[torch.nn.Module, Trained]:
        from lwa_core.recommendation.fitting import fit_model

        transitions = job["transitions"].settings if "transitions" in job.stage.inputs else None
        return fit_model(
            self.recommender,
            job["data"],  # of which it takes what fitting may look at
            folder=job.workspace,
            seed=self.recipe.seed,
            filter_seen=self.recipe.evaluate.filter_seen,
            report=job.report,
            precision=self.recipe.precision,
            transitions=transitions,
            **until,
        )

    def _model(self, data: PreparedData, network: torch.nn.Module) -> RankerModel:
        from lwa_core.recommendation.ranker import Ranker

        recipe, use = self.recipe, self.recipe.recommender
        ranker = Ranker(
            network,
            use.instance,
            data.catalogue,
            use.component,
            use.settings,
            recipe.evaluate.filter_seen,
            provider=facts_of(use.offer.provider),
            time_unit=data.facts.get("time_unit") or AUTO,
        )
        return RankerModel.of(ranker)

    def open(self, folder: Path) -> RankerModel:
        from lwa_core.recommendation.loading import load_ranker

        return RankerModel.of(load_ranker(folder, self.recipe.registry))

    def with_network(self, model: Any, network: torch.nn.Module, compressed_by: Use | None) -> RankerModel:
        ranker: Ranker = model.ranker
        restorers = ranker.restorers + (() if compressed_by is None else (restorer_of(compressed_by),))
        return RankerModel.of(attrs.evolve(ranker, model=network, restorers=restorers))

    # Asking and training

    def calibration(self, data: PreparedData, model: Any) -> Asked:
        examples = drawn(data.calibration, self.recipe.calibration.examples, self.recipe.seed)
        return lent(data.histories(examples)), data.targets(examples)

    def held_out(self, data: PreparedData, model: Any, count: int) -> Asked:
        examples = drawn(data.test, count, self.recipe.seed)
        return lent(data.histories(examples)), data.targets(examples)

    def by_unit(self, data: PreparedData, model: Any, scores: LayerScores) -> LayerScores:
        return scores

    def training_targets(self, data: PreparedData) -> int:
        return int(np.maximum(data.train_ends - data.offsets[:-1] - 1, 0).sum())

    def windows(self, data: PreparedData, subject: TrainableSubject) -> list[History]:
        from lwa_core.recommendation.fitting import windows_of

        return windows_of(subject, data)

    def for_selection(self, data: PreparedData) -> PreparedData:
        return data.only("calibration")

    def for_students(self, data: PreparedData) -> PreparedData:
        return data.only("validation")

    def train(
        self,
        data: PreparedData,
        model: torch.nn.Module,
        subject: TrainableSubject,
        loss: Callable[[torch.nn.Module, Batch], torch.Tensor],
        settings: TrainingSettings,
        folder: Path,
        report: Reporter,
        stop_after: int | None = None,
    ) -> Trained:
        from lwa_core.recommendation.fitting import train_on

        return train_on(
            self.recommender,
            data,
            model,
            loss,
            settings,
            folder=folder,
            seed=self.recipe.seed,
            filter_seen=self.recipe.evaluate.filter_seen,
            report=report,
            precision=self.recipe.precision,
            stop_after=stop_after,
        )

    def untrained(self, data: PreparedData, model: Any) -> torch.nn.Module:
        import torch

        from lwa_core.modeling.files.precision import cast

        torch.manual_seed(self.recipe.seed)
        return cast(self.recommender.build(data.catalogue, Quiet()), self.recipe.precision)

    @property
    def probe_class(self) -> type[Probe]:
        from lwa_core.modeling.probing.probe import Probe

        return Probe

    # What is tried before work begins

    def smoke_inputs(self, data: Stage[PreparedData], teacher: Stage[StoredModel]) -> Inputs:
        return {"data": data}

    def smoke_teacher(self, data: Stage[PreparedData], job: Job) -> Stage[StoredModel]:
        from lwa_core.recommendation.transitions_tuning import UNTUNED

        teacher = self.teacher(data)
        tuned = {"transitions": given("transitions", UNTUNED)} if "transitions" in teacher.inputs else {}
        return attrs.evolve(teacher, make=partial(self._fit, epochs=1), inputs={**teacher.inputs, **tuned})

    def excerpt(self, data: PreparedData, whole: bool) -> PreparedData:
        from lwa_core.data.excerpt import excerpt

        if whole:
            return excerpt(data, self.recipe.calibration.examples, whole_catalogue=True)
        return excerpt(data)

    def assert_sound(self, data: PreparedData, model: Any) -> None:
        from lwa_core.recommendation.contract import check_training_batches

        data = data.for_recommender(self.recommender)
        sequences = data.training_sequences()
        windows = self.recommender.training_windows(sequences)
        if not windows and self.recommender.training().epochs:
            longest = max(map(len, sequences), default=0)
            said = f"`training_windows` gives none for {len(sequences)} users, of whom one has {longest} events"
            raise PluginError(said, "it cuts what is trained on from each user's training part")
        use, network = self.recipe.recommender, model.ranker.model
        check_training_batches(use.who, use.instance, network, windows[:4], len(data.catalogue))

    # Quality

    def quality(
        self, name: str, data: Stage[PreparedData], model: Stage[StoredModel] | Stage[StoredBundle]
    ) -> Stage[Rankings]:
        inputs: Inputs = {"data": data, "model": model}
        return Stage(name, "ranking", RANKING_VERSION, self._rank, read_rankings, inputs, self._ranked_how())

    def cut_quality(
        self, name: str, data: Stage[PreparedData], teacher: Stage[StoredModel], layers: Sequence[int]
    ) -> Stage[Rankings | None]:
        inputs: Inputs = {"data": data, "teacher": teacher}
        asked = {**self._ranked_how(), "layers": list(layers)}
        make, read = partial(self._rank_cut, layers), partial(read_unless_uncut, read_rankings)
        return Stage(name, "ranking", RANKING_VERSION, make, read, inputs, asked)

    def _rank_cut(self, layers: Sequence[int], job: Job) -> None:
        network = cut_or_note(job["teacher"].live.layered, layers, job)
        if network is not None:
            ranker = self.with_network(job["teacher"].live, network, None).ranker
            write_rankings(job.folder, {"model": self._ranking(ranker.scores, job["data"], job.report)})

    def _ranked_how(self) -> dict[str, Any]:
        evaluate = self.recipe.evaluate
        how = {"filter_seen": evaluate.filter_seen, "depth": max(evaluate.k)}
        if evaluate.sampled_negatives:
            how |= {"sampled_negatives": evaluate.sampled_negatives, "seed": self.recipe.seed}
        return how

    def _rank(self, job: Job) -> None:
        from lwa_core.plugins.lending.guard import lent as lending

        stored = job["model"]
        if isinstance(stored, StoredBundle):
            write_rankings(job.folder, {"model": self._ranking(_as_torch(stored.open()), job["data"], job.report)})
            return
        ranker = stored.load().ranker
        with lending(
            self.recipe.recommender.who, self.recipe.seed, models={"the model that was ranked by": ranker.model}
        ):
            ranking = self._ranking(ranker.scores, job["data"], job.report)
        write_rankings(job.folder, {"model": ranking})

    def _ranking(self, scores: Scores, data: PreparedData, report: Reporter, depth: int | None = None) -> Ranking:
        from lwa_core.recommendation.ranking import rank_examples

        evaluate = self.recipe.evaluate
        return rank_examples(
            scores,
            data,
            data.test,
            filter_seen=evaluate.filter_seen,
            depth=depth or max(evaluate.k),
            report=report,
            negatives=evaluate.sampled_negatives if depth is None else 0,
            seed=self.recipe.seed,
        )

    def transitions(self, data: Stage[PreparedData]) -> Stage[Tuned]:
        """The stage that chooses the knobs of `transitions`: recipes over the same data share it."""
        asked = {
            "k": headline_cutoff(self.recipe.evaluate.k),
            "filter_seen": self.recipe.evaluate.filter_seen,
            "seed": self.recipe.seed,
            "budget": BUDGET,
        }
        make, read = self._tune_transitions, read_tuned
        return Stage("tune transitions", "transitions", TRANSITIONS_VERSION, make, read, {"data": data}, asked)

    def _tune_transitions(self, job: Job) -> None:
        from lwa_core.recommendation.transitions_tuning import tune_transitions

        asked = {name: job.stage.asked[name] for name in ("k", "filter_seen", "seed", "budget")}
        # What calibration and test users did next is not even in memory here.
        write_tuned(job.folder, tune_transitions(job["data"].only("validation"), report=job.report, **asked))

    def baselines(
        self, data: Stage[PreparedData], teacher: Stage[StoredModel], chosen_on: Stage[PreparedData]
    ) -> Stage[Baselines]:
        asked = {**self._ranked_how(), "seed": self.recipe.seed}
        inputs: Inputs = {"data": data, "transitions": self.transitions(chosen_on)}
        make, read = self._rank_baselines, read_baselines
        return Stage("rank baselines", "baselines", BASELINES_VERSION, make, read, inputs, asked)

    def _rank_baselines(self, job: Job) -> None:
        from lwa_core.recommendation.baselines import bigram, item_knn, popularity, transitions

        data, tuned = job["data"], job["transitions"]
        fitted = [popularity(data), bigram(data), item_knn(data), transitions(data, tuned.settings)]
        write_rankings(job.folder, {each.name: self._ranking(each.scores, data, job.report) for each in fitted})
        write_json(job.folder / "fitted.json", {"transitions": tuned.facts()})

    def headline(self, quality: Rankings) -> float:
        from lwa_core.statistics.rank_metrics import ndcg

        ranking = quality["model"]
        return float(ndcg(ranking.ranks, 10, ranking.tied).mean())

    def figures(
        self,
        data: PreparedData,
        qualities: Mapping[str, Rankings],
        baselines: Baselines | None,
        controls: Mapping[str, str],
    ) -> Quality:
        from lwa_core.results.assembly import Quality
        from lwa_core.results.summary import cold_start, summarise, trivial

        rankings = {name: ranked["model"] for name, ranked in qualities.items()}
        rankings |= {} if baselines is None else baselines.rankings
        evaluate, seed = self.recipe.evaluate, self.recipe.seed
        return Quality(
            headline=f"ndcg@{headline_cutoff(evaluate.k)}",
            figures=summarise(rankings, data.catalogue, evaluate, seed, controls=controls),
            cold_start=cold_start(rankings, data, evaluate, seed),
            trivial=trivial(rankings, data, evaluate),
            fitted={} if baselines is None else baselines.fitted,
        )

    def account(self, data: PreparedData) -> dict[str, Any]:
        facts = dict(data.facts)
        if self.recipe.split.refit:
            facts |= {"split": {**facts.get("split", {}), "refit": True}, "notes": [*facts.get("notes", ()), REFIT]}
        return {
            "steps": [attrs.asdict(step) for step in data.steps],
            "users": data.users,
            "items": len(data.catalogue),
            "events": len(data.items),
            "test_items_sha256": test_digest(data),
            "facts": facts,
        }

    def calibration_size(self, data: PreparedData) -> int:
        return min(len(data.calibration), self.recipe.calibration.examples)

    def quality_of(self, data: PreparedData, model: Any, report: Reporter) -> float:
        from lwa_core.recommendation.fitting import score_histories

        scores = partial(score_histories, self.recommender, model.layered.model)
        return self.headline({"model": self._ranking(scores, data, report, depth=10)})

    # Requests

    def requests(self, data: PreparedData, count: int) -> Sequence[Mapping[str, Any]]:
        rows = np.random.default_rng(self.recipe.seed).permutation(len(data.test))[:count]
        histories = lent(data.histories(data.test.take(rows)))
        return [sent(history, data) for history in histories]

    def answering(self, model: Any) -> Timed:
        from lwa_core.measuring.served import timed

        return timed(model.ranker, model.ranker.network)


def _as_torch(served: Served) -> Scores:
    """The scores of a bundle, which knows no torch, for the code that ranks all models."""
    import torch

    return lambda histories: torch.from_numpy(served.scores(histories))


def sent(history: History, data: PreparedData) -> dict[str, Any]:
    """The arguments of `Ranker.recommend`."""
    asked: dict[str, Any] = {"history": [data.catalogue.ids[item] for item in history]}
    if isinstance(history, TimedHistory) and history.times is not None:
        asked |= {"times": history.times.tolist(), "time_unit": "ms"}
    return asked


def write_rankings(folder: Path, rankings: Mapping[str, Ranking]) -> None:
    """Write the ranks and top lists of one or more models."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for name, ranking in rankings.items():
        for part in PARTS:
            if (array := getattr(ranking, part)) is not None:
                arrays[f"{name}.{part}"] = array
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / "rankings.safetensors")


def read_rankings(folder: Path) -> Rankings:
    """Read what `write_rankings` wrote, by name."""
    from lwa_core.recommendation.ranking import Ranking

    arrays = load_file(folder / "rankings.safetensors")
    names = sorted(key.removesuffix(".ranks") for key in arrays if key.endswith(".ranks"))
    return {name: Ranking(*(arrays.get(f"{name}.{part}") for part in PARTS)) for name in names}


def read_baselines(folder: Path) -> Baselines:
    """Read what the stage of the baselines wrote."""
    return Baselines(read_rankings(folder), read_json(folder / "fitted.json"))
