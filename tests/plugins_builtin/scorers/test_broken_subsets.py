"""Where sets of layers give answers that are not finite, scorers say so or count them as the worst."""

import numpy as np
import pytest
import torch
from layer_games import without_layer_0_it_overflows

from lwa_core import LwaError, ModelError, PluginError
from lwa_core.pipeline.scoring import queried_scores
from lwa_core.plugins.registry import Registry
from lwa_core.recipe.recipe import Use
from lwa_core.testing import tiny_probe
from lwa_plugins.scorers.banzhaf import Banzhaf
from lwa_plugins.scorers.gate_path import GatePath
from lwa_plugins.scorers.greedy_order import GreedyOrder
from lwa_plugins.scorers.kernel_shap import KernelShap
from lwa_plugins.scorers.leave_one_out import LeaveOneOut
from lwa_plugins.scorers.logit_lens import LogitLens
from lwa_plugins.scorers.shapley import Shapley

DIFFERENCES = [LeaveOneOut, Shapley, Banzhaf, KernelShap, LogitLens]
BROKEN_ALONE = {LogitLens: False}  # the prefixes (0), (0, 1) and all layers are finite


@pytest.mark.parametrize("utility", ["loss", "kl"])
@pytest.mark.parametrize("cls", [cls for cls in DIFFERENCES if BROKEN_ALONE.get(cls, True)], ids=lambda c: c.__name__)
def test_differences_of_answers_that_are_not_finite_are_an_error_that_names_layers(cls, utility):
    probe = without_layer_0_it_overflows(utility)

    with pytest.raises(LwaError, match=r"not finite; the model with just layers (1|1, 2): on \d+ of 12 examples"):
        cls().score(probe)


@pytest.mark.parametrize("cls", DIFFERENCES, ids=lambda cls: cls.__name__)
def test_by_ndcg_they_are_misses(cls):
    probe = without_layer_0_it_overflows("ndcg")

    table = cls().score(probe).double().numpy()

    assert np.isfinite(table).all()
    if cls is LeaveOneOut:
        values = probe.evaluate([(0, 1, 2), (1, 2)])
        assert np.array_equal(values[0] - values[1], table[:, 0])
        assert int((values[1] == 0).sum()) >= probe.unanswered([(1, 2)])[0]


@pytest.mark.parametrize("utility", ["loss", "kl", "ndcg"])
def test_the_layer_without_which_the_model_breaks_is_not_the_first_to_go(utility):
    probe = without_layer_0_it_overflows(utility)

    scores = GreedyOrder().score(probe)[0].tolist()

    assert 1.0 != scores[0]
    assert 3 == len(probe.facts["utilities"])
    assert all(told is None or np.isfinite(told) for told in probe.facts["utilities"])


class Alone:
    """What a plugin's documentation gives as an example: plain differences of what the probe answers."""

    def score(self, probe):
        values = torch.from_numpy(probe.evaluate([(), *((layer,) for layer in range(probe.depth))]))
        return (values[1:] - values[0]).T


def test_of_anyones_scorer_the_error_names_the_layers_too():
    alone = next(iter(Registry.discover().components("scorer")))
    use = Use("scorer", "alone", "alone", alone, {}, Alone(), ())

    with pytest.raises(PluginError, match=r"gave scores that are not finite: nor are answers of .* just layers 1$"):
        queried_scores(use, without_layer_0_it_overflows())


def test_gradients_that_are_not_finite_are_an_error():
    probe = tiny_probe()
    with torch.no_grad():
        probe.model.layers[0].down_proj.weight.mul_(1e38)

    with pytest.raises(ModelError, match="are not finite on 20 of 20 examples"):
        GatePath(nodes=2).score(probe)
