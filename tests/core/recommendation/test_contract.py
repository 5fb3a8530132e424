"""A recommender's answers depend on the history that is asked about, and on nothing else."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
import torch

from lwa_core import Catalogue, PluginError, Quiet, TimedHistory, setting
from lwa_core.plugins.registry import Registry
from lwa_core.recommendation.contract import check_recommender_model, check_training_batches
from lwa_plugins.recommenders.sequential import Sequential

ITEMS = 20
WHO = "recommender 'wrong'"
SMALL = {"layers": 2, "width": 16, "max_length": 8}


def ask(recommender, kind: torch.dtype = torch.float32):
    """All that a recommender's answers may depend on, asked of a small model with random weights."""
    torch.manual_seed(0)
    model = recommender.build(Catalogue(ids=tuple(map(str, range(ITEMS)))), Quiet()).eval().to(kind)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embedding" not in name:  # that of padding stays zero
                parameter.add_(0.1 * torch.randn_like(parameter))
    rng = np.random.default_rng(0)
    histories = [rng.integers(0, ITEMS, length).astype(np.int32) for length in (1, 3, 3, 6, 0, 12)]
    windows = [rng.integers(0, ITEMS, 9).astype(np.int32) for _ in range(3)]
    if getattr(recommender, "uses_times", False):
        histories = [TimedHistory(each, np.arange(len(each)) * 10**5) for each in histories]
        windows = [TimedHistory(each, np.arange(len(each)) * 10**5) for each in windows]
    check_recommender_model(WHO, recommender, model, histories, ITEMS, 0)
    check_training_batches(WHO, recommender, model, recommender.training_windows(windows), ITEMS)


@pytest.mark.parametrize(
    ("component", "more"),
    [
        ("sequential", {}),
        ("sequential", {"objective": "masked"}),
        ("sequential", {"times": True, "block": "gated"}),
        ("sequential", {"training_loss": "gbce", "negatives": 4}),
        *(("backbone", {"family": family, "heads": 2}) for family in ("llama", "gpt2", "bert", "modernbert")),
    ],
)
def test_the_built_in_recommenders_are_independent(component, more):
    cls = Registry.discover().find("recommender", component).load()
    ask(cls(**{**SMALL, **more}))


def test_rounding_of_bfloat16_is_no_dependence():
    ask(Sequential(**SMALL), torch.bfloat16)


@attrs.frozen
class Wrong(Sequential):
    """`sequential` with one mistake."""

    how: str = setting("", help="which")

    def scores(self, model, batch):
        scores = super().scores(model, batch)
        if self.how == "rows mix":
            return scores - scores.mean(dim=0)
        if self.how == "longest":
            return scores + batch["input_ids"].shape[1] * torch.arange(ITEMS)
        if self.how == "drawn":
            return scores + torch.rand_like(scores)
        if self.how == "reversed":
            return -scores
        if self.how == "short":
            return scores[:, 1:]
        if self.how == "never":
            return scores.index_fill(1, torch.tensor([3, 7]), -torch.inf)
        if self.how == "nan":
            return scores / 0 * 0
        if self.how == "scores look" and "labels" in batch:
            return scores.scatter(1, batch["labels"].amax(dim=1, keepdim=True) - 1, 99.0)
        return scores

    def encode(self, model, batch):
        hidden, targets = super().encode(model, batch)
        if self.how == "encode looks":
            return hidden + model.item_embedding.weight[targets + 1], targets
        if self.how == "other targets":
            return hidden, targets.flip(0)
        return hidden, targets

    def example_batch(self, histories, targets=None):
        batch = super().example_batch(histories, targets)
        if self.how == "batch shows" and targets is not None:
            batch["input_ids"][torch.arange(len(histories)), batch["last"]] = torch.from_numpy(targets) + 1
        return batch

    def training_batch(self, windows):
        batch = super().training_batch(windows)
        return {**batch, "input_ids": batch["labels"]} if self.how == "training shows" else batch


def test_some_items_may_be_never_wanted():
    ask(Wrong(**SMALL, how="never"))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("short", r"`scores` gave \(4, 19\), not \(4, 20\)"),
        ("nan", "`scores` gave numbers that are not finite"),
        ("drawn", "`scores` are others when they are asked for again"),
        ("encode looks", "`encode` gives states that know the target"),
        ("batch shows", "know the target"),
        ("scores look", "`scores` know the target where the batch has one"),
        ("rows mix", "`scores` of a history depend on the others of its batch, or on padding"),
        ("longest", "`scores` of a history depend on the others of its batch, or on padding"),
        ("training shows", "`training_batch` shows the target: states change with the item"),
        ("other targets", "`encode` gave other targets than those in the `labels`"),
        ("reversed", "`scores` ranks items otherwise than `head`"),
    ],
)
def test_what_answers_must_not_depend_on_is_named(how, said):
    with pytest.raises(PluginError, match=said):
        ask(Wrong(**SMALL, how=how))
