"""Scorers that look at one pass: standard errors of estimates that are no plain means, and what tables depend on."""

import math

import numpy as np
import pytest
import torch

from lwa_core.errors import LwaError
from lwa_core.modeling.probing.observation import observe
from lwa_core.pipeline.scoring import finished
from lwa_core.testing import tiny_probe
from lwa_core.testing.conformance import score
from lwa_plugins.scorers._probing import PENALTIES, Ridge
from lwa_plugins.scorers.attention_entropy import AttentionEntropy
from lwa_plugins.scorers.cka import Cka, kernels, unbiased_hsic
from lwa_plugins.scorers.info_nce import InfoNce, bound, critic, fitted_critics, lengths
from lwa_plugins.scorers.linear_probe import LinearProbe
from lwa_plugins.scorers.true_fisher import TrueFisher


class Notes:
    """What `finish` needs of a probe."""

    seed = 0

    def tell(self, name, value):
        pass


def standard_error(rows):
    return rows.std(axis=0, ddof=1) / math.sqrt(len(rows))


def test_ridge_maps_are_those_of_scikit_learn():
    """The same penalty and the same predictions at every place, and what was predicted without each example."""
    from sklearn.linear_model import Ridge as Theirs
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import LeaveOneOut, cross_val_predict

    rng = np.random.default_rng(0)
    states, wanted = rng.normal(size=(30, 3, 5)), rng.normal(size=(30, 4))
    wanted += 2 * states[:, 1, :4]
    states[:, 2] = states[:, 1] + 0.01 * states[:, 2]
    found = Ridge.on(torch.from_numpy(states)).fit(torch.from_numpy(wanted))
    new = rng.normal(size=(7, 3, 5))
    guessed = (found.predict(torch.from_numpy(new)) + found.center).numpy()

    for place in range(3):
        mean, deviation = states[:, place].mean(axis=0), states[:, place].std(axis=0)
        columns = (states[:, place] - mean) / deviation
        theirs = RidgeCV(alphas=PENALTIES).fit(columns, wanted)
        np.testing.assert_allclose(guessed[:, place], theirs.predict((new[:, place] - mean) / deviation), rtol=1e-7)
        without = cross_val_predict(Theirs(theirs.alpha_), columns, wanted, cv=LeaveOneOut())
        others = (wanted.sum(axis=0) - wanted) / 29
        np.testing.assert_allclose(found.left_out[:, place], without - others, rtol=1e-6, atol=1e-9)


def log_odds(guessed, wanted, scales):
    return critic(guessed @ wanted.T, lengths(wanted), scales).log_softmax(dim=2)


@pytest.mark.parametrize("bias", [1.0, 0.5], ids=["the best critic", "another"])
def test_the_error_of_info_nce_is_the_spread_over_new_examples(bias):
    """With the critic given: examples that are each other's negatives are no independent terms."""
    rng, rho, size = np.random.default_rng(0), 0.8, 60
    scales = torch.tensor([[1 / (1 - rho**2), bias * rho**2 / (1 - rho**2)]], dtype=torch.double)
    means, errors, naive = [], [], []
    for _ in range(600):
        x, noise = rng.normal(size=(2, size, 1))
        y = rho * x + math.sqrt(1 - rho**2) * noise
        guessed, wanted = torch.from_numpy(rho * x)[None], torch.from_numpy(y)
        rows = bound(guessed, wanted, scales)[0].numpy()
        positives = log_odds(guessed, wanted, scales)[0].diagonal().numpy() + math.log(size)
        assert rows.mean() == pytest.approx(positives.mean())
        means.append(rows.mean())
        errors.append(standard_error(rows))
        naive.append(standard_error(positives))

    spread = np.std(means)
    assert np.mean(errors) == pytest.approx(spread, rel=0.1)
    if bias != 1:
        assert abs(np.mean(naive) / spread - 1) > 0.15  # the terms alone would say something else


def test_critics_are_those_of_the_greatest_bounds():
    rng = np.random.default_rng(0)
    x, noise, other = rng.normal(size=(3, 120, 3))
    wanted = torch.from_numpy(0.7 * x + 0.7 * noise)
    guessed = torch.from_numpy(np.stack([0.7 * x, 50 * x + 20 * other]))
    found = fitted_critics(guessed, wanted)

    def values(scales):
        return log_odds(guessed, wanted, scales).diagonal(dim1=1, dim2=2).mean(dim=1)

    for change in ([1.05, 1], [0.95, 1], [1, 1.05], [1, 0.95]):
        assert (values(found * torch.tensor(change, dtype=torch.double)) < values(found)).all()


def test_a_critic_of_guesses_that_tell_nothing_is_zero():
    rng = np.random.default_rng(0)
    wanted = torch.from_numpy(rng.normal(size=(50, 3)))

    assert fitted_critics(torch.stack([-wanted, torch.zeros_like(wanted)]), wanted).tolist() == [[0, 0], [0, 0]]


def test_cka_is_the_ratio_of_the_groups_mean_hsics_and_its_error_the_spread_over_new_examples():
    rng = np.random.default_rng(0)
    means, errors = [], []
    for number in range(150):
        x, noise = rng.normal(size=(2, 320, 5))
        states = torch.from_numpy(np.stack([x, x + noise], axis=1))
        rows = Cka(group=32).finish(states, Notes()).numpy()
        if not number:
            order = torch.randperm(320, generator=torch.Generator().manual_seed(0))
            parts = [kernels(part) for part in states[order].split(32)]
            k, l, m = (np.mean([float(unbiased_hsic(p[i], p[j])) for p in parts]) for i, j in ((0, 0), (0, 1), (1, 1)))
            assert rows.mean() == pytest.approx(1 - l / math.sqrt(k * m))
        means.append(rows.mean())
        errors.append(standard_error(rows)[0])

    assert np.mean(means) == pytest.approx(1 - 0.5, abs=0.01)  # cov² / (var · var) = 1 / (1 · 2)
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.15)


@pytest.mark.parametrize("scorer", [Cka(), LinearProbe(), InfoNce(), TrueFisher()], ids=lambda s: type(s).__name__)
def test_a_table_does_not_depend_on_who_shares_the_pass(scorer):
    alone = score(scorer, tiny_probe(examples=40))
    probe = tiny_probe(examples=40)
    others = [InfoNce(), Cka(), LinearProbe(), TrueFisher(draws=3)]
    parts = {other: [] for other in (*others, scorer)}
    for seen in observe(probe, frozenset().union(*(other.observes for other in parts)), draws=3):
        for other, part in parts.items():
            part.append(other.observe(seen))
    tables = {other: finished(other, part, probe) for other, part in parts.items()}

    torch.testing.assert_close(tables[scorer], alone, rtol=1e-5, atol=1e-7)


def test_drawn_labels_do_not_depend_on_the_size_of_the_micro_batches():
    one, other = tiny_probe(), tiny_probe()
    other.batch = 3

    torch.testing.assert_close(score(TrueFisher(draws=2), one), score(TrueFisher(draws=2), other), rtol=1e-4, atol=1e-8)


def test_examples_without_a_choice_have_no_row():
    probe = tiny_probe(examples=60)
    short = sum(len(history) == 1 for history in probe.histories)

    assert short
    assert len(score(AttentionEntropy(), probe)) == 60 - short
    assert probe.facts["examples_without_a_choice"] == short


@pytest.mark.parametrize("scorer", [LinearProbe(), InfoNce(), Cka()], ids=lambda s: type(s).__name__)
def test_too_few_examples_are_refused(scorer):
    with pytest.raises(LwaError, match="too few"):
        score(scorer, tiny_probe(examples=6))
