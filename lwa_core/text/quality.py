"""How good a model of texts is on texts that nothing was chosen on: one figure for each text or pair."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from lwa_core.errors import DataError, ModelError
from lwa_core.modeling.kernels.target_ranks import target_ranks
from lwa_core.modeling.layers.layered import base_of
from lwa_core.modeling.probing.batches import moved
from lwa_core.modeling.probing.batching import Ask, Batching, batching_of, chunked
from lwa_core.modeling.probing.example_metrics import at_least_single
from lwa_core.statistics.rank_metrics import recall
from lwa_core.text.examples import make_examples, tokens
from lwa_core.text.parts import TextData, answer_of
from lwa_core.text.reading import Text
from lwa_core.text.subject import TextModel
from lwa_core.types import History, Losses, Reporter

FILE = "quality.safetensors"

MASKED_POSITIONS = 16
"""Positions of each text that a masked language model is asked for when it is measured."""

VALIDATED = {
    "causal": "log-likelihood",
    "masked": "log-likelihood",
    "classify": "log-likelihood",
    "encode": "log reciprocal rank",
}
"""What a model is asked for -> what its training is stopped by, the mean over the validation texts."""

Arrays = dict[str, NDArray[Any]]


@attrs.frozen(eq=False)
class TextQuality:
    """What was measured, one entry for each text.

    Args:
        arrays: By name. `nll` and `count`: summed negative log-likelihood (nats) of a text's targets and how many there
            were; the same with `other_` before it for texts of another domain. `correct`: whether the class is right,
            one over the number of classes that share the highest logit where several do. `ranks`: place of the text
            that belongs to it in the fixed index, behind all that are as near, and `tied`, how many others are as near;
            `own_ranks` and `own_tied` in the index that this model itself makes. `cosine` and `gold`: of scored pairs.
    """

    arrays: Arrays

    def save(self, folder: Path) -> None:
        save_file({name: np.ascontiguousarray(array) for name, array in self.arrays.items()}, folder / FILE)

    @classmethod
    def load(cls, folder: Path) -> TextQuality:
        return cls(load_file(folder / FILE))


def measure(asked: TextModel, data: TextData, length: int, batch: int, seed: int, report: Reporter) -> TextQuality:
    """Measure a model on the test texts, and on those of another domain where there are any."""
    how = Measuring(asked, data, length, batch, seed, report)
    found = how.of(data["test"])
    if data.other and asked.task != "encode":
        found |= {f"other_{name}": values for name, values in how.of(data.other).items()}
    return TextQuality(found)


def validation_of(asked: TextModel, data: TextData, length: int, batch: int, seed: int) -> Callable[[Any], float]:
    """What stops the training of a network, higher is better: see `VALIDATED`."""

    def evaluate(network: Any) -> float:
        found = Measuring(attrs.evolve(asked, model=network), data, length, batch, seed, None).of(data["validation"])
        if "nll" in found:
            return -float(found["nll"].sum() / found["count"].sum())
        return -float(np.log(found["ranks"]).mean())

    return evaluate


@attrs.frozen(eq=False)
class Measuring:
    """One model on texts: padded batches of similar length, answers in the order of the texts."""

    asked: TextModel
    data: TextData
    length: int
    batch: int
    seed: int
    report: Reporter | None

    def of(self, texts: Sequence[Text]) -> Arrays:
        """The arrays that fit what the model is asked for.

        Raises:
            ModelError: An answer is NaN.
        """
        measures = {"encode": self._retrieved, "classify": self._classified, "causal": self._tokens}
        with torch.no_grad():
            found = measures.get(self.asked.task, self._masked)(texts)
        for name, values in found.items():
            if name != "gold":
                assert_numbers(values)
        return found

    def _tokens(self, texts: Sequence[Text]) -> Arrays:
        """Every token of each text but the first, given all before it."""
        ids = [tokens(self.asked, text, self.length, self.data.file)[0] for text in texts]
        total, count = np.zeros(len(ids)), np.zeros(len(ids), dtype=np.int64)

        def losses_of(rows: NDArray[np.int64]) -> Losses:
            return self.asked.loss(
                self._model, moved(self.asked.training_batch([ids[row] for row in rows]), self._model)
            )

        def mean_of(rows: NDArray[np.int64]) -> torch.Tensor:
            losses = losses_of(rows)
            return losses.total / losses.count

        for rows in self._rows([len(each) for each in ids], mean_of, least=2):
            losses = losses_of(rows)
            total[rows], count[rows] = losses.total.double().cpu().numpy(), losses.count.cpu().numpy()
        return {"nll": total, "count": count}

    def _masked(self, texts: Sequence[Text]) -> Arrays:
        """Some tokens of each text, each masked alone, given all others (Salazar et al. 2020, pseudo-likelihood)."""
        examples = make_examples(
            self.asked, texts, self.data.file, length=self.length, cuts=MASKED_POSITIONS, seed=self.seed
        )
        losses, _ = self._asked(examples.histories, examples.targets)
        total = np.bincount(examples.groups, losses, minlength=len(texts))
        return {"nll": total, "count": np.bincount(examples.groups, minlength=len(texts))}

    def _classified(self, texts: Sequence[Text]) -> Arrays:
        examples = make_examples(self.asked, texts, self.data.file, length=self.length)
        losses, correct = self._asked(examples.histories, examples.targets)
        return {"nll": losses, "count": np.ones(len(losses), dtype=np.int64), "correct": correct}

    def _asked(self, histories: Sequence[History], targets: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Loss of each example, and the chance that its target is the item that the model puts first."""
        losses, first = np.zeros((2, len(histories)))

        def logits_of(rows: NDArray[np.int64]) -> torch.Tensor:
            batch = moved(self.asked.example_batch([histories[row] for row in rows], targets[rows]), self._model)
            return at_least_single(self.asked.head(self._model, self.asked.encode(self._model, batch)[0]))

        for rows in self._rows([len(history) for history in histories], logits_of):
            logits = logits_of(rows)
            wanted = torch.from_numpy(targets[rows]).to(logits.device)
            losses[rows] = F.cross_entropy(logits, wanted, reduction="none").double().cpu().numpy()
            ranks, tied = (found.cpu().numpy() for found in target_ranks(logits, wanted))
            first[rows] = recall(ranks, 1, tied)
        return losses, first

    def _retrieved(self, texts: Sequence[Text]) -> Arrays:
        """Place of each text's answer in the fixed index, and in that of this model; cosines of scored pairs."""
        head = self.asked.head_of_ours
        assert head is not None
        queries = self.vectors([text.text for text in texts])
        places = self.data.places()
        targets = torch.tensor([places[answer_of(text)] for text in texts])
        found = ranks_in(queries @ head.vectors.float().cpu().T, targets)
        scored = [text for text in texts if text.score is not None]
        if scored:
            second = self.vectors([text.pair or "" for text in scored])
            found["cosine"] = (queries[: len(scored)] * second).sum(dim=1).double().numpy()
            found["gold"] = np.array([text.score for text in scored], dtype=np.float64)
        else:
            own = ranks_in(queries @ self.vectors(list(self.data.corpus)).T, targets)
            found |= {f"own_{name}": values for name, values in own.items()}
        return found

    def vectors(self, texts: Sequence[str]) -> torch.Tensor:
        """One vector of length 1 for each text (texts, width), float32 on the CPU."""
        made = [Text(text, None, line) for line, text in enumerate(texts, start=1)]
        ids = [tokens(self.asked, text, self.length, self.data.file)[0] for text in made]
        empty = next((text.text for text, each in zip(made, ids, strict=True) if not len(each)), None)
        if empty is not None:
            raise DataError(f"the tokenizer makes no token of {empty!r}", file=self.data.file)
        out: torch.Tensor | None = None

        def vectors_of(rows: NDArray[np.int64]) -> torch.Tensor:
            batch = moved(self.asked.example_batch([ids[row] for row in rows]), self._model)
            return self.asked.vectors(self._model, batch).float().cpu()

        for rows in self._rows([len(each) for each in ids], vectors_of):
            part = vectors_of(rows)
            out = torch.zeros(len(ids), part.shape[1]) if out is None else out
            out[torch.from_numpy(rows)] = part
        return torch.zeros(0, 1) if out is None else out

    @property
    def _model(self) -> Any:
        return self.asked.model

    def _rows(self, lengths: Sequence[int], ask: Ask, least: int = 1) -> Iterator[NDArray[np.int64]]:
        """Rows of similar length, longest first; what is shorter than `least` has nothing to be asked for.

        Only such as `ask` answers together as it does alone are given together.
        """
        order = np.argsort([-length for length in lengths], kind="stable")
        order = order[np.asarray(lengths)[order] >= least]
        done = 0
        for rows in chunked(order, lengths, self.batch, self._batching(order, lengths, ask)):
            yield rows
            done += len(rows)
            if self.report is not None:
                self.report.progress(done, len(order))

    def _batching(self, order: NDArray[np.int64], lengths: Sequence[int], ask: Ask) -> Batching:
        if not len(order) or self.batch == 1:
            return Batching.ANY
        model, known = base_of(self._model), [lengths[row] for row in order]
        precision = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
        found = batching_of(lambda rows: ask(order[rows]), known, type(model).__name__, precision)
        if found is not Batching.ANY and self.report is not None:
            self.report.note(f"{type(model).__name__}: {found.value}")
        return found


def ranks_in(scores: torch.Tensor, targets: torch.Tensor) -> Arrays:
    """`ranks` of each target (texts,) among scores (texts, items), 1 is best, and how many others it is `tied` with.

    Raises:
        ModelError: A score is NaN.
    """
    assert_numbers(scores.numpy())
    ranks, tied = target_ranks(scores, targets)
    return {"ranks": ranks.numpy(), "tied": tied.numpy()}


def assert_numbers(values: NDArray[Any]) -> None:
    """Raise ModelError where what a model answered is no number."""
    wrong = int(np.isnan(values).sum())
    if wrong:
        hint = "train with a lower learning rate, or leave out the compression step that broke it"
        raise ModelError(f"the model gave NaN for {wrong} of {values.size} figures of texts", hint)
