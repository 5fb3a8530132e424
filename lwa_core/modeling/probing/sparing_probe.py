"""A probe that spares passes: for trying what asks it, not for its answers."""

from __future__ import annotations

from typing import Any

from lwa_core.modeling.probing.probe import Probe
from lwa_core.statistics.subsets import Kept

ANSWERED = 64
"""Subsets of layers that are really looked at."""


class SparingProbe(Probe):
    """Looks at the first `ANSWERED` subsets that it is asked about, and answers the others as one of those.

    What asks for thousands of subsets is tried in the time of a few passes: shapes, kinds and finiteness of the answers
    are those of any probe, which of two subsets is better is not.
    """

    def _answer(self, new: list[Kept], besides: str) -> None:
        known = self._answers.table(besides)
        looked = new[: max(1 if not known else 0, ANSWERED - len(known))]
        if looked:
            super()._answer(looked, besides)
        models = list(known)
        for number, kept in enumerate(new[len(looked) :]):
            model = models[number % len(models)]
            tables: tuple[dict[Kept, Any], ...] = (self._answers.losses, self._answers.ranks, self._answers.tied)
            for table in (*tables, self._answers.table(besides)):
                table.setdefault(kept, table[model])
