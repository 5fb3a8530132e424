"""The table of transitions as a prior of `sequential`: logits are the network's plus the table's scores times a factor.

In training the model is asked about sequences that the table was fitted to. There what a sequence added to the table
is left out of its own scores: else the table would seem to know what comes next, and the network would learn nothing
that the table had not seen already.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from lwa_core import ModelError
from lwa_plugins.recommenders._transitions import (
    ID_SCALE,
    NONE,
    TransitionTable,
    facts_of,
    fit_likelihood,
    items_around,
    last_items,
    to_catalogue,
)

if TYPE_CHECKING:
    from lwa_core import Batch, FittedTransitions, History
    from lwa_plugins.recommenders.sequential import Sequential

SCORES = 2**22
"""About how many scores the first factor is found by, at most."""
FEWEST = 64
"""But of so many sequences at least."""


def put_in(asked: Sequential, model: Any, table: FittedTransitions, sequences: Sequence[History]) -> torch.nn.Module:
    """The model with a fitted table; one that has one already keeps the factor that it learnt.

    Raises:
        ModelError: There are more items than float32 has whole numbers.
    """
    items = len(table.shares)
    if items >= ID_SCALE:
        raise ModelError(f"a prior is for {int(ID_SCALE) - 1} items at most, and there are {items}")
    config = model.config
    before = model.prior
    prior = TransitionTable(items, facts_of(table))
    prior.fill(table)
    if before is not None:
        prior.log_scale.data.copy_(before.log_scale.data)
        prior.facts["offset"] = before.facts["offset"]
    else:
        _fit(asked, prior, sequences)
    model.prior, config.transitions = prior, prior.facts
    return model  # type: ignore[no-any-return]  # transformers is untyped


def _fit(asked: Sequential, prior: TransitionTable, sequences: Sequence[History]) -> None:
    """Fit the table's logits to the last events of sequences, evenly chosen among all."""
    long = [place for place, sequence in enumerate(sequences) if len(sequence) > 1]
    if not long:
        return
    count = min(len(long), max(FEWEST, SCORES // prior.items))
    chosen = [long[place] for place in np.linspace(0, len(long) - 1, count).round().astype(int)]
    batch = asked.training_batch([sequences[place][-asked.max_length - 1 :] for place in chosen])
    last = batch["attention_mask"].sum(dim=1) - 1
    ids = _around(prior, batch)[torch.arange(len(chosen)), last]
    fit_likelihood(prior, ids, batch["labels"][torch.arange(len(chosen)), last] - 1)


def ids_at_last(model: Any, batch: Batch) -> torch.Tensor:
    """Catalogue indices of the last items of each example (examples, seen)."""
    ids = to_catalogue(batch["input_ids"], model.config.first_item)
    rows = torch.arange(len(ids), device=ids.device)
    return last_items(ids, model.prior.seen)[rows, batch["last"]]


def ids_at_targets(model: Any, batch: Batch, valid: torch.Tensor) -> torch.Tensor:
    """Of every position that has a target its last items, in training mode with those around (targets, …)."""
    if model.training:
        return _around(model.prior, batch)[valid]
    return last_items(to_catalogue(batch["input_ids"], model.config.first_item), model.prior.seen)[valid]


def _around(prior: TransitionTable, batch: Batch) -> torch.Tensor:
    """As `items_around` gives them, of the inputs and of the target that follows each."""
    inputs = to_catalogue(batch["input_ids"], 1)
    after = torch.where(batch["labels"] > 0, batch["labels"] - 1, F.pad(inputs[:, 1:], (0, 1), value=NONE))
    return items_around(torch.cat([inputs[:, :1], after], dim=1), prior.seen, prior.around)
