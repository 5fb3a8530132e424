import numpy as np
import pytest
import torch

from lwa_core.errors import PluginError
from lwa_core.modeling.layers.layered import LayeredModel
from lwa_core.modeling.probing.batches import checked
from lwa_core.modeling.probing.probe import Probe
from lwa_core.testing import tiny_probe, tiny_recommender

MASK = torch.tensor([[1, 1, 0], [1, 1, 1]])
LABELS = torch.tensor([[0, 8, 0], [0, 0, 1]])
TARGETS = torch.tensor([7, 0])
GOOD = {"attention_mask": MASK, "labels": LABELS}


@pytest.mark.parametrize("more", [{}, {"places": torch.tensor([1, 2])}, {"attention_mask": MASK.bool()}])
def test_a_batch_that_keeps_to_the_contract_comes_back_as_it_is(more):
    batch = {**GOOD, **more}
    assert batch is checked(batch, object(), 2, TARGETS)
    assert batch is checked(batch, object(), 2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": None}, "has no `labels`: it holds attention_mask"),
        ({"attention_mask": None}, "has no `attention_mask`: it holds labels"),
        ({"attention_mask": MASK[:1]}, "has an `attention_mask` (1, 3), not (2, time)"),
        ({"attention_mask": MASK[0]}, "has an `attention_mask` (3,), not (2, time)"),
        ({"labels": LABELS[:, :2]}, "has `labels` (2, 2) and an `attention_mask` (2, 3): not the same shape"),
        ({"labels": LABELS.float()}, "has `labels` of torch.float32, not integers"),
        ({"labels": LABELS > 0}, "has `labels` of torch.bool, not integers"),
        ({"places": torch.tensor([1])}, "has `places` (1,), not (2,)"),
        ({"labels": (LABELS - 1).clamp(min=0)}, "does not have the target + 1 in `labels` once for each example"),
        ({"labels": LABELS.where(LABELS > 0, -100)}, "does not have the target + 1 in `labels` once for each example"),
        ({"labels": torch.tensor([[4, 4, 0], [0, 0, 1]])}, "does not have the target + 1 in `labels` once"),
    ],
)
def test_what_breaks_it_is_said_with_the_name_of_the_recommender(change, said):
    batch = {name: value for name, value in {**GOOD, **change}.items() if value is not None}
    with pytest.raises(PluginError) as caught:
        checked(batch, tiny_recommender(), 2, TARGETS)
    assert caught.value.message.startswith(f"a batch that lwa_plugins.recommenders.sequential.Sequential made {said}")
    assert "docs/plugins.md" in caught.value.hint


def test_several_targets_of_an_example_are_its_own_choice():
    several = {**GOOD, "labels": MASK * 3}
    assert several is checked(several, object(), 2)


def test_a_probe_says_it_before_anything_is_scored():
    probe = tiny_probe(examples=3)

    class Unlabelled(type(probe.subject)):
        def example_batch(self, histories, targets=None):
            return super().example_batch(histories)

    subject = Unlabelled(layers=4, width=16, max_length=12)
    model = LayeredModel(probe.model.model)
    asked = Probe(model, subject, probe.histories, np.asarray(probe.targets))
    with pytest.raises(PluginError, match="Unlabelled made has no `labels`"):
        asked.evaluate([(0,)])
