"""The task `text`: texts, a language model, classifier or encoder that is loaded, quality on held-out texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch

from lwa_core.errors import DataError, LwaError, ModelError
from lwa_core.measuring.performance import Timed
from lwa_core.modeling.devices import device
from lwa_core.modeling.files.precision import cast
from lwa_core.modeling.layers.layered import LayeredModel
from lwa_core.modeling.probing.batches import checked, moved
from lwa_core.modeling.probing.probe import Probe
from lwa_core.pipeline.graph import Inputs, Job, Stage, given
from lwa_core.pipeline.keys import path_digests
from lwa_core.pipeline.models import StoredModel, cut_or_note, read_unless_uncut, restorer_of, write_model
from lwa_core.pipeline.task import Asked, drawn_rows
from lwa_core.plugins.protocols import TrainableSubject
from lwa_core.recipe.recipe import Recipe, Use
from lwa_core.results.assembly import Quality
from lwa_core.results.text_summary import LOWER_IS_BETTER, headline_of, summarise_texts, trivial_texts
from lwa_core.settings import unstructure
from lwa_core.statistics.rank_metrics import headline_cutoff
from lwa_core.store.files import digest, read_json, write_json
from lwa_core.text.baselines import baselines
from lwa_core.text.examples import TextExamples, by_text, make_examples, target_of, tokens
from lwa_core.text.heads import fitted_head, index_head
from lwa_core.text.loading import load_text_model, save_text_model, task_of
from lwa_core.text.parts import EXCERPT, TextData, load_texts, save_texts, split_texts
from lwa_core.text.quality import VALIDATED, TextQuality, measure, validation_of
from lwa_core.text.reading import read_texts
from lwa_core.text.sections import EvaluateText, Model, Texts
from lwa_core.text.subject import AskedText, TextModel
from lwa_core.training.trainer import Trained, train
from lwa_core.types import Batch, History, LayerScores, Reporter, TrainingSettings

DATA_VERSION = 1
TEACHER_VERSION = 2
QUALITY_VERSION = 2
BASELINES_VERSION = 2

Qualities = dict[str, TextQuality]


@attrs.frozen(eq=False, slots=False)
class LiveText:
    """A model of texts as the pipeline sees it."""

    subject: TextModel

    @cached_property
    def layered(self) -> LayeredModel:
        return LayeredModel(self.subject.model)

    @property
    def loads(self) -> Sequence[str]:
        """Its class in transformers reads it, unless a compressor has to restore what it left, maps stand between its
        layers, or layers have adapters beside them.
        """
        from lwa_core.modeling.layers.state_maps import has_maps

        if self.subject.restorers or has_maps(self.subject.model):
            return ("lwa_core.load_text",)
        return ("peft" if hasattr(self.subject.model, "peft_config") else "transformers", "lwa_core.load_text")

    def save(self, folder: Path) -> None:
        save_text_model(self.subject, folder)

    def sample(self) -> torch.Tensor:
        answers = []
        for text in _sample_texts(self.subject):  # one at a time: some classifiers know no padding
            batch = moved(self.subject.example_batch([text]), self.subject.model)
            with torch.no_grad():
                hidden, _ = self.subject.encode(self.subject.model, batch)
                answers.append(self.subject.head(self.subject.model, hidden).float().cpu())
        return torch.cat(answers)


def _sample_texts(subject: TextModel) -> list[History]:
    """Token ids of made-up texts."""
    rng = np.random.default_rng(0)
    texts = [rng.integers(0, subject.vocabulary, length).astype(np.int32) for length in (2, 3, 10)]
    for text in texts if subject.task == "masked" else ():
        text[0] = subject.tokenizer.mask_token_id
    return list(texts)


@attrs.frozen(slots=False)
class TextTask:
    """The task of recipes that have texts and a model of texts."""

    recipe: Recipe

    @cached_property
    def texts(self) -> Texts:
        """The table `[texts]`."""
        texts: Texts = self.recipe.parts["texts"]
        return texts

    @cached_property
    def settings(self) -> Model:
        """The table `[model]`."""
        model: Model = self.recipe.parts["model"]
        return model

    @property
    def evaluate(self) -> EvaluateText:
        """The table `[evaluate]`."""
        evaluate: EvaluateText = self.recipe.parts["evaluate"]
        return evaluate

    @cached_property
    def ask(self) -> str:
        """What the model is asked for."""
        return self.settings.ask or task_of(self.settings.path)

    @property
    def metric(self) -> str:
        return headline_of(self.ask, self.evaluate, bool(self.texts.score))

    @property
    def ranked(self) -> dict[str, Any]:
        return {"k": headline_cutoff(self.evaluate.k) if self.ask == "encode" else None, "filter_seen": False}

    # Data and teacher

    def data(self) -> Stage[TextData]:
        self._assert_ndcg()
        texts = self.texts
        named = {"path": path_digests(texts.path), "other": None if texts.other is None else path_digests(texts.other)}
        if not texts.path.is_file():
            raise DataError("there is no such file", file=texts.path)
        asked = {"texts": {**unstructure(texts), **named}, "ask": self.ask, "seed": self.recipe.seed}
        return Stage("texts", "texts", DATA_VERSION, self._read, load_texts, {}, asked)

    def _assert_ndcg(self) -> None:
        """Raise LwaError where layers are to be judged by an NDCG that the report of such a model does not have."""
        asking = [f"scorer '{use.name}'" for use in self.recipe.scorers if use.settings.get("utility") == "ndcg"]
        asking += ["calibration"] if self.recipe.calibration.utility == "ndcg" else []
        if asking and self.ranked["k"] is None:
            said = f"{asking[0]} has the utility 'ndcg', and the report of a model with ask = '{self.ask}' has no NDCG"
            raise LwaError(said, "set the utility to 'loss'")

    def _read(self, job: Job) -> None:
        texts = self.texts
        columns = (
            texts.text,
            texts.label if self.ask == "classify" else None,
            texts.pair or None if self.ask == "encode" else None,
            texts.score or None if self.ask == "encode" else None,
        )
        found = read_texts(texts.path, *columns)
        other = [] if texts.other is None else read_texts(texts.other, columns[0], columns[1])
        save_texts(split_texts(found, other, texts, self.recipe.seed, index=self.ask == "encode"), job.folder)

    def teacher(self, data: Stage[TextData]) -> Stage[StoredModel]:
        settings = {**unstructure(self.settings), "path": path_digests(self.settings.path)}
        # What the classes or the index are made of; a language model is loaded whatever the texts are.
        inputs: Inputs = {"data": data} if self.ask in ("classify", "encode") else {}
        asked = {"model": settings, "ask": self.ask, "length": self.texts.length, "precision": self.recipe.precision}
        read = partial(StoredModel, open=self.open)
        return Stage("teacher", "model", TEACHER_VERSION, partial(self._load, data), read, inputs, asked)

    def _load(self, data: Stage[TextData], job: Job) -> None:
        settings, length, batch = self.settings, self.texts.length, self.recipe.calibration.batch
        loaded = load_text_model(settings.path, self.ask, job.report.note, pooling=settings.pooling)
        if getattr(loaded.model, "hf_quantizer", None) is None:
            loaded = attrs.evolve(loaded, model=cast(loaded.model, self.recipe.precision))
        if not loaded.output and loaded.head_of_ours is None:
            texts = job.run.value(data)
            if self.ask == "encode":
                head = index_head(loaded, texts, length, batch, settings.temperature)
            else:
                head = fitted_head(loaded, texts, length, batch)
            loaded = attrs.evolve(loaded, head_of_ours=head)
        for text in _sample_texts(loaded):
            loaded.check([text])
        model = LiveText(loaded)
        write_model(job.folder, model, range(model.layered.depth), None, self.open)

    @property
    def files_of_histories(self) -> Sequence[str]:
        return ()

    def refitted(self, teacher: Stage[StoredModel]) -> None:
        return None  # the full model is loaded, not trained

    def open(self, folder: Path) -> LiveText:
        return LiveText(load_text_model(folder, registry=self.recipe.registry))

    def with_network(self, model: Any, network: torch.nn.Module, compressed_by: Use | None) -> LiveText:
        subject: TextModel = model.subject
        restorers = subject.restorers + (() if compressed_by is None else (restorer_of(compressed_by),))
        return LiveText(attrs.evolve(subject, model=network, restorers=restorers))

    # Asking and training

    def calibration(self, data: TextData, model: Any) -> Asked:
        examples = self._examples(data, model, "calibration", self.recipe.calibration.examples)
        return examples.histories, examples.targets

    def held_out(self, data: TextData, model: Any, count: int) -> Asked:
        examples = self._examples(data, model, "test", count)
        return examples.histories, examples.targets

    def _examples(self, data: TextData, model: Any, part: str, count: int) -> TextExamples:
        texts = data[part]
        texts = [texts[row] for row in drawn_rows(len(texts), count, self.recipe.seed)]
        return make_examples(
            model.subject,
            texts,
            data.file,
            length=self.texts.length,
            cuts=self.texts.cuts,
            seed=self.recipe.seed,
            places=data.places() or None,
        )

    def by_unit(self, data: TextData, model: Any, scores: LayerScores) -> LayerScores:
        """One row for each text: several examples of one text are no independent draws."""
        if self.texts.cuts == 1 or not model.subject.per_token:
            return scores
        return by_text(scores, self._examples(data, model, "calibration", self.recipe.calibration.examples).groups)

    def training_targets(self, data: TextData) -> int:
        return self.settings.training_targets

    def windows(self, data: TextData, subject: Any) -> list[History]:
        if not data["train"] or not data["validation"]:
            hint = "leave a share for them in [texts]: what validation, calibration and test do not take is trained on"
            raise DataError("there are no texts to train on, or none to stop training by", hint=hint)
        windows: list[History] = []
        places = data.places() or None
        for text in data["train"]:
            ids, _ = tokens(subject, text, self.texts.length, data.file)
            windows.append(ids if subject.per_token else AskedText(ids, target_of(subject, text, data.file, places)))
        found: list[History] = subject.training_windows(windows)
        return found

    def for_selection(self, data: TextData) -> TextData:
        return data.only("calibration")

    def for_students(self, data: TextData) -> TextData:
        return data.only("train", "validation")

    def train(
        self,
        data: TextData,
        model: torch.nn.Module,
        subject: TrainableSubject,
        loss: Callable[[torch.nn.Module, Batch], torch.Tensor],
        settings: TrainingSettings,
        folder: Path,
        report: Reporter,
        stop_after: int | None = None,
    ) -> Trained:
        asked: Any = subject
        return train(
            model,
            loss,
            windows=self.windows(data, subject),
            collate=lambda windows: checked(subject.training_batch(windows), subject, len(windows)),
            evaluate=validation_of(asked, data, self.texts.length, self.recipe.calibration.batch, self.recipe.seed),
            metric=VALIDATED[self.ask],
            precision=self.recipe.precision,
            settings=settings,
            folder=folder,
            seed=self.recipe.seed,
            report=report,
            stop_after=stop_after,
        )

    def untrained(self, data: TextData, model: Any) -> torch.nn.Module:
        torch.manual_seed(self.recipe.seed)
        network: Any = model.subject.model
        return type(network)(network.config).to(device()).eval()  # type: ignore[no-any-return]

    @property
    def probe_class(self) -> type[Probe]:
        return Probe

    # What is tried before work begins

    def smoke_inputs(self, data: Stage[TextData], teacher: Stage[StoredModel]) -> Inputs:
        """The full model is loaded, not trained: it is tried as it is."""
        return {"data": data, "teacher": teacher}

    def smoke_teacher(self, data: Stage[TextData], job: Job) -> Stage[StoredModel]:
        # Loaded anew: what is tried may spoil it, and the run goes on with its own.
        return given("teacher", StoredModel(job["teacher"].folder, self.open))

    def excerpt(self, data: TextData, whole: bool) -> TextData:
        return data.excerpt(self.recipe.calibration.examples if whole else EXCERPT)

    def assert_sound(self, data: TextData, model: Any) -> None:
        """The subject is the core's own, and was checked when the model was loaded."""

    # Quality

    def quality(self, name: str, data: Stage[TextData], model: Stage[StoredModel]) -> Stage[Any] | None:
        if not self.texts.test:
            return None
        inputs: Inputs = {"data": data, "model": model}
        asked = {"length": self.texts.length, "seed": self.recipe.seed}
        return Stage(name, "text-quality", QUALITY_VERSION, self._measure, _read_qualities, inputs, asked)

    def cut_quality(
        self, name: str, data: Stage[TextData], teacher: Stage[StoredModel], layers: Sequence[int]
    ) -> Stage[Any] | None:
        if not self.texts.test:
            return None
        inputs: Inputs = {"data": data, "teacher": teacher}
        asked = {"length": self.texts.length, "seed": self.recipe.seed, "layers": list(layers)}
        make, read = partial(self._measure_cut, layers), partial(read_unless_uncut, _read_qualities)
        return Stage(name, "text-quality", QUALITY_VERSION, make, read, inputs, asked)

    def _measure_cut(self, layers: Sequence[int], job: Job) -> None:
        network = cut_or_note(job["teacher"].live.layered, layers, job)
        if network is not None:
            subject = self.with_network(job["teacher"].live, network, None).subject
            _write_qualities(job.folder, {"model": self._quality(subject, job["data"], job.report)})

    def _measure(self, job: Job) -> None:
        subject = job["model"].load().subject
        _write_qualities(job.folder, {"model": self._quality(subject, job["data"], job.report)})

    def _quality(self, subject: TextModel, data: TextData, report: Reporter) -> TextQuality:
        return measure(subject, data, self.texts.length, self.recipe.calibration.batch, self.recipe.seed, report)

    def baselines(
        self, data: Stage[TextData], teacher: Stage[StoredModel], chosen_on: Stage[TextData]
    ) -> Stage[Any] | None:
        if not self.texts.test:
            return None
        inputs: Inputs = {"data": data, "teacher": teacher}
        asked = {"length": self.texts.length}
        make, read = self._measure_baselines, _read_qualities
        return Stage("rank baselines", "text-baselines", BASELINES_VERSION, make, read, inputs, asked)

    def _measure_baselines(self, job: Job) -> None:
        _write_qualities(job.folder, baselines(job["teacher"].live.subject, job["data"], self.texts.length))

    def headline(self, quality: Qualities) -> float:
        evaluate = attrs.evolve(self.evaluate, bootstrap=100)
        figure = summarise_texts({"model": quality["model"]}, evaluate, 0, "model")["model"].metrics[self.metric]
        if figure is None or figure.mean is None:
            raise ModelError(f"the model has no finite {self.metric} on the test texts")
        return figure.mean

    def figures(
        self,
        data: TextData,
        qualities: Mapping[str, Qualities],
        baselines: Qualities | None,
        controls: Mapping[str, str],
    ) -> Quality:
        measured = {name: quality["model"] for name, quality in qualities.items()}
        everything = {**measured, **(baselines or {})}
        return Quality(
            headline=self.metric,
            figures=summarise_texts(everything, self.evaluate, self.recipe.seed, controls=controls),
            lower_is_better=LOWER_IS_BETTER,
            trivial=trivial_texts(everything, self.evaluate, len(data.corpus)),
        )

    def account(self, data: TextData) -> dict[str, Any]:
        counts = {part: len(texts) for part, texts in data.parts.items()}
        facts = {
            "file": data.file.name,
            "counts": {**counts, "other": len(data.other), "index": len(data.corpus)},
            "asked_for": self.ask,
            "length": self.texts.length,
        }
        test = digest([text.text for text in data["test"]])
        return {"texts": data.size, "test_texts_sha256": test, "facts": facts}

    def calibration_size(self, data: TextData) -> int:
        return min(len(data["calibration"]), self.recipe.calibration.examples)

    def quality_of(self, data: TextData, model: Any, report: Reporter) -> float:
        return self.headline({"model": self._quality(model.subject, data, report)})

    # Requests

    def requests(self, data: TextData, count: int) -> Sequence[Mapping[str, Any]]:
        texts = data["test"] or data["calibration"]
        rows = np.random.default_rng(self.recipe.seed).permutation(len(texts))[:count]
        return [{"text": texts[row].text} for row in rows]

    def answering(self, model: Any) -> Timed:
        subject: TextModel = model.subject
        length = min(self.texts.length, subject.longest)

        def answer(sent: Sequence[Mapping[str, Any]]) -> object:
            return subject.answer([each["text"] for each in sent], length)

        def network(sent: Sequence[Mapping[str, Any]]) -> Callable[[], object]:
            return partial(subject.outputs, subject.request_batch([each["text"] for each in sent], length))

        return Timed(answer, network)


def _write_qualities(folder: Path, qualities: Mapping[str, TextQuality]) -> None:
    for name, quality in qualities.items():
        (folder / name).mkdir()
        quality.save(folder / name)
    write_json(folder / "names.json", list(qualities))


def _read_qualities(folder: Path) -> Qualities:
    return {name: TextQuality.load(folder / name) for name in read_json(folder / "names.json")}
