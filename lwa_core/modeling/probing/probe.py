"""How good the model is with some layers left out, for any family of layer subsets, and what its gates say.

All is asked of the calibration examples; the loss is the cross-entropy of the one target of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from lwa_core.errors import LwaError
from lwa_core.modeling.gradients.taps import frozen
from lwa_core.modeling.kernels.matmul import fast_linear_maps
from lwa_core.modeling.layers.layered import LayeredModel
from lwa_core.modeling.probing.asked import AskedModel
from lwa_core.modeling.probing.example_metrics import ExampleMetrics, ndcg_of
from lwa_core.modeling.probing.prefix_trie import Walk, evaluations, fast_tail
from lwa_core.modeling.probing.state_cache import CACHED_BYTES, StateCache
from lwa_core.modeling.probing.subject import Subject
from lwa_core.modeling.probing.subset_answers import SubsetAnswers
from lwa_core.statistics.subsets import Kept, every_subset
from lwa_core.types import History

DEEPEST_TABLE = 16
UTILITIES = ("loss", "ndcg", "kl")


class Probe(AskedModel):
    """Asks a layered model questions about calibration examples.

    Args:
        model: The full model; put into eval mode.
        subject: Makes the batches, and says what the model answers.
        histories: Calibration histories.
        targets: The item that followed each history (examples,).
        utility: What `evaluate` gives where it is not told: `"loss"`, minus the cross-entropy of the target; `"ndcg"`,
            NDCG@10 of the target over the full catalogue; `"kl"`, minus KL(full model ‖ cut model) over the catalogue.
        answers: What was answered before about this model and these examples, shared by all who ask.
        how: `batch`, `seed`, `report`, `training_targets`, as for `AskedModel`.
    """

    def __init__(
        self,
        model: LayeredModel,
        subject: Subject,
        histories: Sequence[History],
        targets: NDArray[np.int64],
        *,
        utility: str = "loss",
        answers: SubsetAnswers | None = None,
        **how: Any,
    ) -> None:
        super().__init__(model, subject, histories, targets, **how)
        self.utility = utility
        self.facts: dict[str, Any] = {}
        self._answers = answers if answers is not None else SubsetAnswers()
        self._asked: set[Kept] = set()
        self._asked_kl: set[Kept] = set()
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
            batch=self.batch,
            seed=self.seed,
            training_targets=self.training_targets,
        )
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

        SubsetAnswers are remembered, and kept with the run.

        Raises:
            LwaError: A layer that is to be kept is not there, or the utility is none of `UTILITIES`.
        """
        utility = utility or self.utility
        if utility not in UTILITIES:
            raise LwaError(f"there is no utility {utility!r}", f"there are: {', '.join(UTILITIES)}")
        if utility == "ndcg":
            return ndcg_of(self.ranks(keeps))
        wanted = self._answered(keeps, kl=utility == "kl")
        table = self._answers.kl if utility == "kl" else self._answers.losses
        return -np.stack([table[kept] for kept in wanted])

    @contextmanager
    def holding(self, most: int = CACHED_BYTES) -> Iterator[None]:
        """Keep states between the calls of `evaluate` inside, for a search that goes on from what it has just asked.

        A layer then runs once for each distinct prefix of all that is asked inside. A call whose states would bring
        those that are held beyond `most` bytes leaves none behind.
        """
        if self._held is not None:
            yield
            return
        last = self.depth - 1 if fast_tail(self.subject, self.model.model) is not None else None
        positions = sum(batch["attention_mask"].numel() for batch in self.batches())
        size = positions * self.width * next(self.model.model.parameters()).element_size()
        self._held = StateCache(most // size, last, tuple(range(self.depth)))
        try:
            yield
        finally:
            self._held = None

    def ranks(self, keeps: Sequence[Sequence[int]]) -> NDArray[np.int64]:
        """Rank of every target in the full catalogue under every subset (subsets, examples); 1 is best.

        Items of the history are not filtered, and ties count for the target.
        """
        wanted = self._answered(keeps)
        return np.stack([self._answers.ranks[kept] for kept in wanted], dtype=np.int64)

    def _answered(self, keeps: Sequence[Sequence[int]], *, kl: bool = False) -> list[Kept]:
        wanted = [tuple(sorted({int(layer) for layer in kept})) for kept in keeps]
        odd = next((kept for kept in wanted if kept and not 0 <= kept[0] <= kept[-1] < self.depth), None)
        if odd is not None:
            raise LwaError(f"cannot keep layers {list(odd)} of a model with layers 0..{self.depth - 1}")
        self._count(wanted, kl)
        known: Mapping[Kept, Any] = self._answers.kl if kl else self._answers.losses
        new = sorted({kept for kept in wanted if kept not in known})
        if new:
            self._answer(new, kl)
        return wanted

    def _count(self, wanted: list[Kept], kl: bool) -> None:
        """Add what this costs, had nothing been answered before."""
        asked = self._asked_kl if kl else self._asked
        needed = evaluations(set(wanted) - asked, self.depth)
        asked.update(wanted)
        self._asked.update(wanted)
        self._evaluations += len(needed) if self._held is None else self._held.take(needed, kl)

    def _answer(self, new: list[Kept], kl: bool) -> None:
        chunks = self._chunks(self.batch)
        losses = np.empty((len(new), self.examples))
        ranks = np.empty((len(new), self.examples), dtype=np.int32)
        divergences = np.empty((len(new), self.examples)) if kl else None
        for number, (chunk, batch) in enumerate(zip(chunks, self.batches(), strict=True)):
            with torch.no_grad():
                walk = Walk(self, batch, ExampleMetrics(batch["targets"], kl))
                found = walk.run(new) if self._held is None else self._held.run((number, kl), walk, new)
                # One transfer for all: waiting for a GPU after every subset would leave it idle.
                losses[:, chunk] = torch.stack([found[kept][0] for kept in new]).double().cpu().numpy()
                ranks[:, chunk] = torch.stack([found[kept][1] for kept in new]).cpu().numpy()
                if divergences is not None:
                    divergences[:, chunk] = torch.stack([found[kept][2] for kept in new]).double().cpu().numpy()
            if self.report is not None:
                self.report.progress(number + 1, len(chunks), f"{len(new)} layer subsets")
        self._answers.add(new, losses, ranks, divergences)

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
        return rows

    def count_passes(self, passes: float) -> None:
        """Add passes that a scorer made by itself to the cost."""
        self._passes += passes
