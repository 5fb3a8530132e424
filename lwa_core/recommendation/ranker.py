"""A trained model together with what it takes to use it: its recommender and the catalogue it ranks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from numpy.typing import NDArray

from lwa_core.data import Catalogue
from lwa_core.data.moments import AUTO
from lwa_core.data.timed import asks_for_times
from lwa_core.errors import ModelError
from lwa_core.modeling.probing.asked import layered
from lwa_core.modeling.probing.subject import named_blocks
from lwa_core.plugins.protocols import Recommender
from lwa_core.plugins.restoring import Restorer, described, save_network, told_settings
from lwa_core.recommendation.answering import Answering, Best
from lwa_core.recommendation.fitting import score_histories, scoring
from lwa_core.recommendation.ranking import top_items
from lwa_core.recommendation.users import KnownUsers
from lwa_core.store.checksums import checksums
from lwa_core.store.files import write_json
from lwa_core.types import History

DESCRIPTION = "ranker.json"
ITEMS = "items.json"
FORMAT = 2
"""Since 2 the description lists the other files."""


@attrs.frozen(eq=False, repr=False)
class Ranker(Answering):
    """Ranks the items of a catalogue for a history of item ids.

    Args:
        model: The network, in eval mode.
        recommender: Turns histories into batches and scores.
        catalogue: The items.
        component: Name of the recommender's component, and its settings; saved with the model.
        settings: See `component`.
        filter_seen: Whether items of the history are left out of the recommendations.
        restorers: The compressors that gave the network other modules than its recommender builds, in their order. The
            last one saves and restores it.
        provider: Who offers the recommender, as `lwa_core.plugins.restoring.facts_of` says it.
        time_unit: What numbers that are times counted in the data; `"auto"` where it had none.
        facts: What `lwa_core.fit` was given and left out, as `PreparedData.facts`; empty where it was loaded.
        users: Those of the data; None where the model was loaded without its run.
        fingerprint: First digits of the sha256 of the saved model's description, which holds those of its weights; None
            where it was not loaded.
    """

    model: torch.nn.Module
    recommender: Recommender
    catalogue: Catalogue
    component: str
    settings: Mapping[str, Any]
    filter_seen: bool = True
    restorers: tuple[Restorer, ...] = ()
    provider: Mapping[str, str] = attrs.field(factory=dict)
    time_unit: str = AUTO
    facts: Mapping[str, Any] = attrs.field(factory=dict)
    users: KnownUsers | None = None
    fingerprint: str | None = None
    index: dict[str, int] = attrs.field(init=False)
    layers: int | None = attrs.field(init=False)

    @index.default
    def _make_index(self) -> dict[str, int]:
        return self.catalogue.index()

    @layers.default
    def _count_layers(self) -> int | None:
        try:
            return layered(self.model, self.recommender).depth
        except ModelError:  # a plugin's network may have no list of blocks, and answers all the same
            return None

    def scores(self, histories: Sequence[History]) -> torch.Tensor:
        """Score of every item after each history of item indices (histories, items); higher is better.

        Raises:
            ModelError: The model ranks more or fewer items than the catalogue holds.
        """
        scores = score_histories(self.recommender, self.model, histories)
        assert_ranks(scores, len(self.catalogue))
        return scores

    @property
    def ids(self) -> tuple[str, ...]:
        """Of the items."""
        return self.catalogue.ids

    @property
    def titles(self) -> tuple[str, ...] | None:
        """Of the items, where they have any."""
        return self.catalogue.titles

    @property
    def uses_times(self) -> bool:
        """Whether the model looks at the times of events."""
        return asks_for_times(self.recommender)

    def best(self, histories: Sequence[History], left_out: Sequence[History], k: int) -> Best:
        """The k best items of each history but those left out, and their scores, as `top_items` gives them."""
        return Best(*top_items(self.scores(histories), left_out, k))

    def scores_of(self, history: History, items: NDArray[np.int64]) -> NDArray[np.float64]:
        """The scores of some items after one history (items,)."""
        scores: NDArray[np.float64] = self.scores([history])[0, torch.from_numpy(items)].double().cpu().numpy()
        return scores

    def __repr__(self) -> str:
        seen = "seen items left out" if self.filter_seen else "seen items allowed"
        return f"Ranker({self.component!r}, {len(self.catalogue)} items, {seen})"

    def network(self, sent: Sequence[Mapping[str, Any]]) -> Callable[[], torch.Tensor]:
        """What the network alone does for requests, arguments of `recommend`: from a batch to scores of all items."""
        return scoring(self.recommender, self.model, self.histories_of(sent))

    def save(self, folder: str | Path) -> None:
        """Write the model (safetensors), its catalogue and description (JSON); `lwa_core.load` reads them.

        The description holds the sha256 of every other file, and a folder that is not as it was saved is refused.
        """
        folder = Path(folder)
        save_network(self.model, self.restorers, folder, named_blocks(self.recommender))
        self.describe(folder)

    def describe(self, folder: Path) -> None:
        """Write what is to stand beside a saved model for `load` to read it."""
        write_json(folder / ITEMS, attrs.asdict(self.catalogue))
        write_json(
            folder / DESCRIPTION,
            {
                "format": FORMAT,
                "recommender": self.component,
                "settings": told_settings(self.settings),
                **({"provider": dict(self.provider)} if self.provider else {}),
                "filter_seen": self.filter_seen,
                "time_unit": self.time_unit,
                "restored_by": described(self.restorers),
                "files": checksums(folder, but=DESCRIPTION),
            },
        )


def assert_ranks(scores: torch.Tensor, items: int) -> None:
    """Raise ModelError where a table of scores (histories, items) is of other items than a catalogue's."""
    if scores.dim() != 2 or scores.shape[1] != items:
        raise ModelError(f"the model ranks {scores.shape[-1]} items, but its catalogue holds {items}")
