"""The table of transitions inside a network: the scores of the fitted one, in torch, saved with it.

What a position is asked about is the ids of its last items. They travel with the hidden states, as columns behind
them, so that whoever has states has the scores: `head` reads them, and no gradient goes there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lwa_core import TransitionArrays
from lwa_plugins.recommenders._fused import Fused

if TYPE_CHECKING:
    from lwa_core import FittedTransitions

NONE = -1
"""Stands for no item among ids."""
ID_SCALE = 2.0**24
"""Whole numbers up to here are exact in float32. Ids divided by it are exact, too, and small, as states are."""
DENSE = 2**24
"""Of tables with at most so many places a dense copy is used, from which rows are faster had."""
OFFSETS = tuple(10.0**power for power in (-4, -3, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3))
SCALES = (np.log(1e-3), np.log(1e5))
"""Within which the logarithm of the scale is looked for."""
FEWEST_EVENTS = 0.5
"""Training events that an item counts as where it has none, as in the fitted table."""


class TransitionTable(nn.Module):
    """Scores of every item after the last items of a history.

    Args:
        items: Size of the catalogue.
        facts: What `facts_of` gives: settings and sizes, JSON-ready.
    """

    def __init__(self, items: int, facts: dict[str, Any]) -> None:
        super().__init__()
        self.items = items
        self.facts = facts
        self.register_buffer("starts", torch.zeros(items + 1, dtype=torch.int64))
        self.register_buffer("columns", torch.zeros(facts["entries"], dtype=torch.int32))
        self.register_buffer("evidence", torch.zeros(facts["entries"]))
        self.register_buffer("log_shares", torch.zeros(items))
        self.register_buffer("units", torch.zeros(items))
        if facts["features"]:
            self.register_buffer("term_starts", torch.zeros(items + 1, dtype=torch.int64))
            self.register_buffer("terms", torch.zeros(facts["term_entries"], dtype=torch.int32))
            self.register_buffer("term_weights", torch.zeros(facts["term_entries"]))
        self.log_scale = nn.Parameter(torch.zeros(()))
        self._made = Fused()

    def fill(self, table: FittedTransitions) -> None:
        """Take over a fitted table."""
        self.starts, self.columns, self.evidence = _rows_of(table.evidence)
        self.log_shares = torch.from_numpy(np.log(table.shares)).float()
        self.units = torch.from_numpy(table.units).float()
        if table.features is not None:
            self.term_starts, self.terms, self.term_weights = _rows_of(table.features)

    @property
    def seen(self) -> int:
        """How many of the last items are looked at."""
        return int(self.facts["history"])

    @property
    def around(self) -> int:
        """How far from an item others lie whose transitions from it or to it were counted."""
        return len(self.facts["distances"])

    @property
    def scale(self) -> torch.Tensor:
        """What scores are multiplied with where they are logits, above 0."""
        return self.log_scale.exp()

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Scores of all items (rows, items), float32, without a gradient.

        Args:
            ids: Catalogue indices of the last items of each row, the newest last, `NONE` for no item (rows, `seen`).
                Or, of a place in a sequence that the table was fitted to, the items around that place, too
                (rows, `seen` + 2 `around`): what this sequence itself added is then left out, so that what came next
                is scored as if it were new. Sums of rows, by which rows were divided, stay as they are.
        """
        with torch.no_grad():
            own = ids.shape[1] > self.seen
            last = ids[:, self.around : self.around + self.seen] if own else ids
            there = last >= 0
            ages = torch.arange(last.shape[1] - 1, -1, -1, device=ids.device)
            weights = self.facts["decay"] ** ages * there
            scores = self._evidence(last.clamp(min=0), weights)
            scores += self.facts["popularity"] * self.log_shares
            if self.facts["features"]:
                faded = self.facts["features"] * self.facts["features_decay"] ** ages * there
                scores += self._cosines(last.clamp(min=0), faded)
            if own:
                self._leave_own_out(scores, ids, weights)
            return scores

    def logits(self, ids: torch.Tensor) -> torch.Tensor:
        """The scores in the same order as logits, but for `scale`: log(1 + (score − lowest) / offset) (rows, items).

        A score that is a sum of shares and not of logarithms says of two items how often each came next; a logit says
        by what factor more often one did. The offset, which `fit_likelihood` finds, is small for the former kind; as it
        grows, logits become the scores themselves, times a factor.
        """
        with torch.no_grad():
            lowest = (self.facts["popularity"] * self.log_shares).min()
            return torch.log1p((self(ids) - lowest).clamp_(min=0) / self.facts["offset"])

    def _evidence(self, last: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Σ δⁱ g(W[hᵢ, b]) (rows, items)."""
        if self.items**2 <= DENSE:
            return F.embedding_bag(last, self._kept(self._dense), per_sample_weights=weights, mode="sum")
        scores = torch.zeros(len(last) * self.items, device=last.device)
        rows, places = _entries(self.starts, last.flatten())
        found = self.evidence[places].float() * weights.flatten()[rows]
        scores.index_add_(0, rows // last.shape[1] * self.items + self.columns[places], found)
        return scores.view(len(last), self.items)

    def _cosines(self, last: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Σ λ δ_fⁱ cos(hᵢ, b) (rows, items): cosines of unit rows are linear in them, so one profile does for a row."""
        rows, places = _entries(self.term_starts, last.flatten())
        count = self.facts["terms"]
        profiles = torch.zeros(count * len(last), device=last.device)
        found = self.term_weights[places].float() * weights.flatten()[rows]
        profiles.index_add_(0, self.terms[places] * len(last) + rows // last.shape[1], found)
        scores = F.embedding_bag(
            self.terms.long(),
            profiles.view(count, len(last)),
            self.term_starts,
            per_sample_weights=self.term_weights.float(),
            mode="sum",
            include_last_offset=True,
        )
        return scores.T.contiguous()

    def _leave_own_out(self, scores: torch.Tensor, ids: torch.Tensor, weights: torch.Tensor) -> None:
        """Take out, in place, what the pairs and events of the sequence itself added.

        A pair counts once for each place; where an item comes several times in a sequence, other pairs of the same two
        items stay in.
        """
        events, rows = self._events(), torch.arange(len(ids), device=ids.device)
        fewer = self.facts["popularity"] * (_without_one(events) / events).log()
        places = rows[:, None] * self.items + ids.clamp(min=0)
        scores.view(-1).index_add_(0, places.flatten(), (fewer[ids.clamp(min=0)] * (ids >= 0)).flatten())
        shares = torch.tensor(self.facts["distances"], device=ids.device)
        shares = torch.cat([shares, shares * self.facts["reverse"]])
        steps = torch.arange(1, self.around + 1, device=ids.device)
        steps = torch.cat([steps, -steps])[shares > 0]
        begins = ids[:, self.around : self.around + self.seen, None]
        at = torch.arange(self.around, self.around + self.seen, device=ids.device)[:, None] + steps
        ends = ids[:, at]  # (rows, seen, steps)
        row, place, step = ((begins >= 0) & (ends >= 0)).nonzero(as_tuple=True)
        source, end = begins[row, place, 0], ends[row, place, step]
        held = self._at(source, end)
        left = self._without(held, shares[shares > 0][step] * self.units[source], end)
        scores.view(-1).index_add_(0, row * self.items + end, weights[row, place] * (left - held))

    def _events(self) -> torch.Tensor:
        """Training events of each item (items,)."""
        events: torch.Tensor = self.log_shares.float().exp() * self.facts["events"]
        return events

    def _without(self, held: torch.Tensor, part: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
        """g(W) of pairs (pairs,), one own pair and one event of its end less."""
        scale = self.facts["scale"]
        weighed = held if scale is None else scale * torch.expm1(held)
        events = self._events()[end]
        others = _without_one(events)
        divisor = (self.items / self.facts["events"]) ** self.facts["correction"]
        left = (weighed * events ** self.facts["correction"] - part / divisor) / others ** self.facts["correction"]
        left = torch.where(held > 0, left.clamp(min=0), 0.0)
        # Sums in float32: a rest of rounding is not to stand for evidence.
        left = torch.where(left > 1e-4 * weighed, left, 0.0)
        return left if scale is None else torch.log1p(left / scale)

    def _at(self, source: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
        """g(W) of single pairs (pairs,)."""
        if self.items**2 <= DENSE:
            return self._kept(self._dense)[source, end]
        keys, wanted = self._kept(self._sorted_keys), source * self.items + end
        if not len(keys):
            return torch.zeros(len(end), device=end.device)
        places = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
        return torch.where(keys[places] == wanted, self.evidence[places].float(), 0.0)

    def _kept(self, make: Callable[[], torch.Tensor]) -> torch.Tensor:
        """What is made of the table, once, for as long as it is the same; one thing for a table."""
        sources = [self.starts, self.columns, self.evidence]
        if not self._made.is_of(sources):
            with torch.inference_mode(False):
                self._made.keep(make(), sources)
        return cast(torch.Tensor, self._made.table)

    def _origins(self) -> torch.Tensor:
        """The row of every entry (entries,)."""
        rows = torch.arange(self.items, device=self.starts.device)
        return torch.repeat_interleave(rows, self.starts.diff())

    def _sorted_keys(self) -> torch.Tensor:
        return self._origins() * self.items + self.columns

    def _dense(self) -> torch.Tensor:
        table = torch.zeros(self.items, self.items, device=self.evidence.device)
        table[self._origins(), self.columns.long()] = self.evidence.float()
        return table


def facts_of(table: FittedTransitions) -> dict[str, Any]:
    """Settings and sizes of a fitted table, JSON-ready."""
    settings = table.settings
    facts = {
        "entries": int(table.evidence.nnz),
        "events": table.events,
        "distances": settings.counting.weights().tolist(),
        "reverse": settings.counting.reverse,
        "history": settings.history,
        "decay": settings.decay,
        "correction": settings.correction,
        "scale": settings.scale,
        "popularity": settings.popularity,
        "features": settings.features if table.features is not None else 0.0,
        "offset": 1.0,
    }
    if table.features is None:
        return facts
    sizes = {"terms": int(table.features.shape[1]), "term_entries": int(table.features.nnz)}
    return {**facts, **sizes, "features_decay": settings.features_decay}


def arrays_of(table: TransitionTable, *, logits: bool = True) -> TransitionArrays:
    """The table for exporters, in float32.

    Args:
        table: Filled.
        logits: Whether its logits count, or its scores as they are.
    """
    facts = table.facts
    names = ["entries", "history", "decay", "popularity", "features", "offset"]
    named = {
        "evidence": (table.starts, table.columns, table.evidence),
        **({"terms": (table.term_starts, table.terms, table.term_weights)} if facts["features"] else {}),
    }
    arrays: dict[str, Any] = {"log-shares": table.log_shares.detach().float().cpu().numpy()}
    for name, (starts, columns, values) in named.items():
        arrays |= {f"{name}-starts": starts.cpu().numpy(), f"{name}-columns": columns.cpu().numpy()}
        arrays[f"{name}-values"] = values.detach().float().cpu().numpy()
    names += ["features_decay", "terms", "term_entries"] if facts["features"] else []
    settings = {**{name: facts[name] for name in names}, "factor": float(table.scale.detach())}
    if not logits:
        settings["offset"] = None
    return TransitionArrays(settings, arrays)


def _rows_of(table: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Where each row begins, columns and values of a sparse table, columns rising within a row."""
    table.sort_indices()
    starts = torch.from_numpy(table.indptr.astype(np.int64))
    return starts, torch.from_numpy(table.indices.astype(np.int32)), torch.from_numpy(table.data).float()


def _entries(starts: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Every entry of some rows of a sparse table: which of `rows` it is of, and its place (entries,)."""
    lengths = starts[rows + 1] - starts[rows]
    of = torch.repeat_interleave(torch.arange(len(rows), device=rows.device), lengths)
    within = torch.arange(len(of), device=rows.device) - (lengths.cumsum(0) - lengths)[of]
    return of, starts[rows][of] + within


def _without_one(events: torch.Tensor) -> torch.Tensor:
    return (events - 1).clamp(min=FEWEST_EVENTS)


def last_items(ids: torch.Tensor, seen: int) -> torch.Tensor:
    """The last `seen` ids up to every place (examples, time, seen), `NONE` before the first; `ids` (examples, time)."""
    return F.pad(ids, (seen - 1, 0), value=NONE).unfold(1, seen, 1)


def items_around(ids: torch.Tensor, seen: int, around: int) -> torch.Tensor:
    """The same, and the `around` ids before and after (examples, time − 1, seen + 2 around) of all places but the last.

    Args:
        ids: Whole sequences, targets included (examples, time).
        seen: How many items are looked at.
        around: How far pairs of items reach.
    """
    reach = seen + 2 * around
    return F.pad(ids, (seen - 1 + around, around - 1), value=NONE).unfold(1, reach, 1)


def with_ids(hidden: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """States with ids behind them, as numbers below 1 (rows, width + ids), float32."""
    return torch.cat([hidden.float(), (ids + 1).to(torch.float32) / ID_SCALE], dim=1)


def split_ids(given: torch.Tensor, width: int, items: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What `with_ids` joined; a number that is no item's stands for none, so that `head` is linear in the states."""
    ids = (given[:, width:].detach() * ID_SCALE).round().long() - 1
    return given[:, :width], torch.where((ids >= 0) & (ids < items), ids, NONE)


def to_catalogue(input_ids: torch.Tensor, first: int) -> torch.Tensor:
    """Catalogue indices of a model's ids, `NONE` for padding and masks; `first`: id of the first item."""
    return (input_ids - first).clamp(min=NONE)


def fit_likelihood(table: TransitionTable, ids: torch.Tensor, targets: torch.Tensor) -> None:
    """Set the offset and the scale with which the logits give the targets the highest likelihood.

    Args:
        table: Filled.
        ids: As `TransitionTable.forward` takes them (rows, …).
        targets: Catalogue indices (rows,).
    """
    from scipy.optimize import minimize_scalar

    best = None
    for offset in OFFSETS:
        table.facts["offset"] = offset
        logits = table.logits(ids)

        def loss(log_scale: float, logits: torch.Tensor = logits) -> float:
            return float(F.cross_entropy(float(np.exp(log_scale)) * logits, targets))

        found = minimize_scalar(loss, bounds=SCALES, method="bounded", options={"xatol": 1e-3})
        if best is None or found.fun < best[0]:
            best = (found.fun, offset, found.x)
    assert best is not None
    _, table.facts["offset"], log_scale = best
    table.log_scale.data.fill_(float(log_scale))
