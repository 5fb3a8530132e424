"""What is made of tensors and kept until one of them changes."""

from __future__ import annotations

from collections.abc import Sequence

import torch


class Fused:
    """A table that is computed again only where what it is made of has changed; never while it is to be learnt.

    What it is made of is held, so that no other tensor can come to lie in its place.
    """

    def __init__(self) -> None:
        self.table: torch.Tensor | None = None
        self.sources: list[tuple[torch.Tensor, int]] = []

    def is_of(self, sources: Sequence[torch.Tensor]) -> bool:
        """Whether the table was made of these tensors as they are now."""
        held = [(source.data_ptr(), version) for source, version in self.sources]
        return self.table is not None and held == [(source.data_ptr(), source._version) for source in sources]

    def keep(self, table: torch.Tensor, sources: Sequence[torch.Tensor]) -> None:
        """Keep a table that was made of `sources`."""
        self.table, self.sources = table, [(source.detach(), source._version) for source in sources]
