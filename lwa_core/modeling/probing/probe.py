"""How good the model is with some layers left out, for any family of layer subsets, and what its gates say.

All is asked of the calibration examples; the loss is the cross-entropy of the one target of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from lwa_core.errors import LwaError, ModelError
from lwa_core.modeling.gradients.taps import frozen
from lwa_core.modeling.kernels.matmul import fast_linear_maps
from lwa_core.modeling.kernels.target_ranks import left_out_of
from lwa_core.modeling.layers.layered import LayeredModel
from lwa_core.modeling.probing.asked import BROKEN, AskedModel
from lwa_core.modeling.probing.example_metrics import SCALES, ExampleMetrics
from lwa_core.modeling.probing.prefix_trie import Walk, evaluations, fast_tail
from lwa_core.modeling.probing.repairs import fit_repairs
from lwa_core.modeling.probing.state_cache import CACHED_BYTES, StateCache
from lwa_core.modeling.probing.subject import Subject
from lwa_core.modeling.probing.subset_answers import BESIDES, SubsetAnswers
from lwa_core.modeling.probing.whole_passes import WholePasses, replays
from lwa_core.statistics.rank_metrics import ndcg
from lwa_core.statistics.subsets import Kept, every_subset
from lwa_core.types import Batch, History

DEEPEST_TABLE = 16
UTILITIES = {"loss": "", "kl": "kl", "scaled-loss": "scaled", "ndcg": ""}
"""What is asked for besides loss and rank, by the utility that is made of it."""


class Probe(AskedModel):
    """Asks a layered model questions about calibration examples.

    Args:
        model: The full model; put into eval mode.
        subject: Makes the batches, and says what the model answers.
        histories: Calibration histories.
        targets: The item that followed each history (examples,).
        utility: What `evaluate` gives where it is not told: `"loss"`, minus the cross-entropy of the target; `"ndcg"`,
            NDCG@k of the target over the full catalogue, as the report has it of test examples; `"kl"`, minus KL(full
            model ‖ cut model) over the catalogue; `"scaled-loss"`, minus the cross-entropy at the temperature at
            which it is smallest on average, of each set of layers its own (temperature scaling, Guo et al. 2017).
        k: Cut-off of that NDCG; None where the model's report has none.
        filter_seen: Whether the items of a history are left out where its target is ranked.
        repair: The form of the maps that close the gaps of every set of layers that is asked about; `"none"`: as cut.
        answers: What was answered before about this model and these examples, shared by all who ask.
        how: `batch`, `seed`, `report`, `training_targets`, `batching`, as for `AskedModel`.
    """

    def __init__(
        self,
        model: LayeredModel,
        subject: Subject,
        histories: Sequence[History],
        targets: NDArray[np.int64],
        *,
        utility: str = "loss",
        k: int | None = 10,
        filter_seen: bool = False,
        repair: str = "none",
        answers: SubsetAnswers | None = None,
        **how: Any,
    ) -> None:
        super().__init__(model, subject, histories, targets, **how)
        self.utility = utility
        self.k = k
        self.filter_seen = filter_seen
        self.repair = repair
        self._repairs: Mapping[tuple[int, int], torch.nn.Module] | None = None
        self.facts: dict[str, Any] = {}
        self._answers = answers if answers is not None else SubsetAnswers()
        self._asked: set[Kept] = set()
        self._asked_besides: dict[str, set[Kept]] = {besides: set() for besides in BESIDES}
        self._evaluations = 0
        self._passes = 0.0
        self._held: StateCache | None = None
        self._settled = False

    @property
    def cost(self) -> float:
        """What was asked so far, in forward passes over the examples, had nothing been answered before.

        Counted in layer evaluations divided by the depth; a backward pass counts as one.
        """
        return self._passes + self._evaluations / self.depth

    @property
    def asked_all(self) -> bool:
        """Whether every subset of the layers was asked for."""
        return len(self._asked) == 1 << self.depth

    @cached_property
    def replays(self) -> bool:
        """Whether the states after a prefix of layers are all that the layers behind it need (seen, not believed)."""
        return replays(self)

    @property
    def repairs(self) -> Mapping[tuple[int, int], torch.nn.Module]:
        """The maps over gaps, by the boundaries on both sides; fitted on all examples when first asked for.

        Raises:
            ModelError: The layers hand on more than their states.
        """
        if self._repairs is None:
            if self.repair != "none" and not self.replays:
                said = f"the gaps between layers of {type(self.model.base).__name__} cannot be closed while it is asked"
                raise ModelError(f"{said}: they hand on more than their states", 'set repair = "none"')
            self._repairs = {} if self.repair == "none" else fit_repairs(self, self.repair)
            self._passes += 0.0 if self.repair == "none" else 1.0
        return self._repairs

    def tell(self, name: str, value: Any) -> None:
        """Note a JSON-ready fact about the score that is being made; it is kept with it and shown in the report."""
        self.facts[name] = value

    def settle(self) -> None:
        """Ask about one example, once: what a model makes ready at its first call is not a change that others made."""
        if not self._settled:
            with torch.no_grad():
                self.logits(next(self.batches(size=1)))
            self._settled = True

    @property
    def remembered(self) -> SubsetAnswers:
        """What was answered so far."""
        return self._answers

    def answers_only_if(self, allow: Callable[[], None] | None) -> None:
        """Remember and keep answers only where `allow` does not raise; None: always."""
        self._answers.allow = allow

    def part(self, rows: Sequence[int]) -> Probe:
        """A probe of some of the examples, which remembers nothing of this one's answers."""
        chosen = [self.histories[row] for row in rows]
        part = Probe(
            self.model,
            self.subject,
            chosen,
            self._targets[np.asarray(rows)],
            utility=self.utility,
            k=self.k,
            filter_seen=self.filter_seen,
            repair=self.repair,
            batch=self.batch,
            seed=self.seed,
            training_targets=self.training_targets,
            batching=self.batching,
        )
        part._repairs = self.repairs
        part.generator = self.generator
        return part

    # Subsets of layers

    def subsets(self) -> list[Kept]:
        """Every subset of the layers, by rising number of the bits that say which are kept.

        Raises:
            LwaError: There are more than 2^16.
        """
        if self.depth > DEEPEST_TABLE:
            raise LwaError(
                f"the table of all layer subsets of {self.depth} layers would have 2^{self.depth} rows",
                f"it is made for at most {DEEPEST_TABLE} layers",
            )
        return every_subset(self.depth)

    def evaluate(self, keeps: Sequence[Sequence[int]], utility: str | None = None) -> NDArray[np.float64]:
        """Utility of every calibration example under every subset of layers (subsets, examples); higher is better.

        An answer that is not finite (NaN among the logits, say) is the worst there is: 0 for `ndcg`, minus infinity for
        all others. So it wins nowhere, and a scorer that takes differences of it gets no finite table. Answers
        are remembered, and kept with the run.

        Raises:
            LwaError: A layer that is to be kept is not there, or the utility is none of `UTILITIES`, or it is `ndcg` of
                a model whose report has none.
            ModelError: The full model itself gives answers that are not finite.
        """
        utility = utility or self.utility
        if utility not in UTILITIES:
            raise LwaError(f"there is no utility {utility!r}", f"there are: {', '.join(UTILITIES)}")
        if utility == "ndcg":
            return self._ndcg(keeps)
        wanted = self._answered(keeps, UTILITIES[utility])
        table = self._answers.table(UTILITIES[utility])
        if utility == "scaled-loss":
            return -np.stack([_at_best_scale(table[kept]) for kept in wanted])
        return -np.stack([table[kept] for kept in wanted])

    def _ndcg(self, keeps: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        if self.k is None:
            said = "the utility 'ndcg' is the NDCG of the report, and the report of this model has none"
            raise LwaError(said, "use the utility 'kl' or 'loss'")
        wanted = self._answered(keeps)
        ranks, tied = (
            np.stack([table[kept] for kept in wanted]) for table in (self._answers.ranks, self._answers.tied)
        )
        return ndcg(ranks, self.k, tied)

    @property
    def broken(self) -> list[Kept]:
        """The subsets that were asked for and that give some example an answer that is not finite."""
        known = {kept: self._answers.losses.get(kept) for kept in self._asked}
        return sorted(kept for kept, losses in known.items() if losses is not None and np.isinf(losses).any())

    def unanswered(self, keeps: Sequence[Sequence[int]]) -> NDArray[np.int64]:
        """How many of the examples every subset of layers gives no finite answer to (subsets,)."""
        wanted = self._answered(keeps)
        return np.array([np.isinf(self._answers.losses[kept]).sum() for kept in wanted], dtype=np.int64)

    @contextmanager
    def holding(self, most: int = CACHED_BYTES) -> Iterator[None]:
        """Keep states between the calls of `evaluate` inside, for a search that goes on from what it has just asked.

        A layer then runs once for each distinct prefix of all that is asked inside. A call whose states would bring
        those that are held beyond `most` bytes leaves none behind. A model whose prefixes cannot be replayed has none.
        """
        if self._held is not None or not self.replays:
            yield
            return
        last = self.depth - 1 if fast_tail(self.subject, self.model.model) is not None else None
        positions = sum(batch["attention_mask"].numel() for batch in self.batches())
        size = positions * self.width * self.precision.itemsize
        self._held = StateCache(most // size, last, tuple(range(self.depth)))
        try:
            yield
        finally:
            self._held = None

    def ranks(self, keeps: Sequence[Sequence[int]]) -> NDArray[np.int64]:
        """Rank of every target in the full catalogue under every subset (subsets, examples); 1 is best.

        Behind all items of the same score. 0: the target has no place, because it is in the history and seen items are
        left out, or because the answer is not finite.
        """
        wanted = self._answered(keeps)
        return np.stack([self._answers.ranks[kept] for kept in wanted], dtype=np.int64)

    def _answered(self, keeps: Sequence[Sequence[int]], besides: str = "") -> list[Kept]:
        wanted = [tuple(sorted({int(layer) for layer in kept})) for kept in keeps]
        odd = next((kept for kept in wanted if kept and not 0 <= kept[0] <= kept[-1] < self.depth), None)
        if odd is not None:
            raise LwaError(f"cannot keep layers {list(odd)} of a model with layers 0..{self.depth - 1}")
        self._count(wanted, besides)
        known = self._answers.table(besides)
        new = sorted({kept for kept in wanted if kept not in known})
        if new:
            self._answer(new, besides)
        return wanted

    def _count(self, wanted: list[Kept], besides: str) -> None:
        """Add what this costs, had nothing been answered before."""
        asked = self._asked_besides[besides] if besides else self._asked
        new = set(wanted) - asked
        asked.update(wanted)
        self._asked.update(wanted)
        if not self.replays:
            self._evaluations += len(new) * self.depth
            return
        needed = evaluations(new, self.depth)
        self._evaluations += len(needed) if self._held is None else self._held.take(needed, besides)

    def _answer(self, new: list[Kept], besides: str) -> None:
        chunks = self._chunks(self.batch)
        answers: dict[str, NDArray[Any]] = {"losses": np.empty((len(new), self.examples))}
        answers |= {name: np.empty((len(new), self.examples), dtype=np.int32) for name in ("ranks", "tied")}
        if besides == "kl":
            answers["kl"] = np.empty((len(new), self.examples))
        elif besides == "scaled":
            answers["scaled"] = np.empty((len(new), len(SCALES), self.examples), dtype=np.float32)
        lost = 0
        for number, (chunk, batch) in enumerate(zip(chunks, self.batches(), strict=True)):
            with torch.no_grad():
                judge = self._judge(chunk, batch, besides)
                found = self._found(new, batch, judge, (number, besides))
                # One transfer for all: waiting for a GPU after every subset would leave it idle.
                for place, table in enumerate(answers.values()):
                    rows = torch.stack([found[kept][place] for kept in new])
                    table[..., chunk] = (rows.double() if rows.is_floating_point() else rows).cpu().numpy()
                lost += 0 if judge.lost is None else int(judge.lost)
            if self.report is not None:
                self.report.progress(number + 1, len(chunks), f"{len(new)} layer subsets")
        if lost:
            raise ModelError(f"the full model's answers to {lost} of {self.examples} examples are not finite", BROKEN)
        self._answers.add(new, answers)

    def _judge(self, chunk: NDArray[np.int64], batch: Batch, besides: str) -> ExampleMetrics:
        seen = left_out_of([self.histories[row] for row in chunk], batch["targets"]) if self.filter_seen else None
        return ExampleMetrics(batch["targets"], besides, seen)

    def _found(self, new: list[Kept], batch: Batch, judge: ExampleMetrics, which: tuple[int, str]) -> dict[Kept, Any]:
        repairs = self.repairs
        if not self.replays:
            return WholePasses(self, batch, judge).run(new)
        walk = Walk(self, batch, judge, repairs)
        return walk.run(new) if self._held is None else self._held.run(which, walk, new)

    # Gates

    def gate_gradients(self, gates: Sequence[float] | None = None) -> NDArray[np.float64]:
        """∂ℓ_n/∂g_l of gates h + g_l (block(h) − h) on the layers' branches (examples, layers), at these gates.

        One forward and one backward pass give them for every example, since examples do not mix. Without `gates`: at 1,
        the model as it is.
        """
        kind = torch.promote_types(next(self.model.model.parameters()).dtype, torch.float32)
        at = torch.ones(self.depth, dtype=kind) if gates is None else torch.as_tensor(gates, dtype=kind)
        rows = np.empty((self.examples, self.depth))
        self._passes += 2
        for chunk, batch in zip(self._chunks(self.batch), self.batches(), strict=True):
            spread = at.to(self._device)[:, None].repeat(1, len(chunk)).requires_grad_()
            with frozen(self.model), torch.enable_grad(), fast_linear_maps(), self.model.gated(spread):
                loss = F.cross_entropy(self.logits(batch), batch["targets"], reduction="sum")
                (gradient,) = torch.autograd.grad(loss, spread)
            rows[chunk] = gradient.T.double().cpu().numpy()
        if lost := int((~np.isfinite(rows).all(axis=1)).sum()):
            said = (
                f"the gradients of the loss for the layers' gates are not finite on {lost} of {self.examples} examples"
            )
            raise ModelError(said, BROKEN)
        return rows

    def count_passes(self, passes: float) -> None:
        """Add passes that a scorer made by itself to the cost."""
        self._passes += passes


def _at_best_scale(losses: NDArray[np.float32]) -> NDArray[np.float64]:
    """The losses (examples,) at the scale of the lowest mean, from those at all (scales, examples)."""
    by_scale = losses.astype(np.float64)
    return np.asarray(by_scale[by_scale.mean(axis=1).argmin()])
