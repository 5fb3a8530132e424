"""Least squares over gaps, against numpy's own on rows written out."""

import numpy as np
import pytest
import torch

from lwa_core.modeling.layers.gap_maps import FORMS, Moments, correction, fit

WIDTH = 4


def rows_of(count=40, width=WIDTH, seed=0, gated=False):
    rng = np.random.default_rng(seed)
    states = rng.normal(size=(count, width)) * [3, 1, 0.2, 1] + [0, 5, 0, -1]
    gap = states @ rng.normal(size=(width, width)) * 0.3 + rng.normal(size=(count, width)) + 0.7
    return states, gap, rng.uniform(0.1, 1, size=(count, width)) if gated else None


def moments_of(states, gap, gates, parts=3):
    made = Moments.empty(states.shape[1], gated=gates is not None)
    for some in np.array_split(np.arange(len(states)), parts):
        made.add(*(None if part is None else torch.from_numpy(part[some]) for part in (states, gap, gates)))
    return made


def by_rows(states, gap, gates, form, ridge, intercept):
    """(D, c) by one least squares over all unknown numbers at once, the ridge as rows of its own."""
    count, width = states.shape
    gates = np.ones_like(states) if gates is None else gates
    places = [(j, k) for j in range(width) for k in range(width)]
    free = {"scalar": [places], "diagonal": [[(j, j)] for j in range(width)], "least-squares": [[p] for p in places]}
    groups = [[p for p in group if form != "scalar" or p[0] == p[1]] for group in free[form]]
    unit = np.mean(((states[:, None, :] * gates[:, :, None]) ** 2).sum(axis=0))
    constants = list(range(width)) if intercept and form != "scalar" else []
    design = np.zeros((count * width, len(groups) + len(constants)))
    for column, group in enumerate(groups):
        for j, k in group:
            design[np.arange(count) * width + j, column] += gates[:, j] * states[:, k]
    for place, j in enumerate(constants):
        design[np.arange(count) * width + j, len(groups) + place] = gates[:, j]
    held = np.zeros((len(groups), design.shape[1]))
    for column, group in enumerate(groups):
        held[column, column] = np.sqrt(ridge * unit * len(group))
    wanted = np.concatenate([gap.reshape(-1), np.zeros(len(groups))])
    solved = np.linalg.lstsq(np.vstack([design, held]), wanted, rcond=None)[0]
    found = np.zeros((width, width + 1))
    for number, group in zip(solved, groups, strict=False):
        for j, k in group:
            found[j, k] = number
    for place, j in enumerate(constants):
        found[j, width] = solved[len(groups) + place]
    return found


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("ridge", [1e-8, 0.1, 10.0])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_a_correction_is_that_of_least_squares(form, ridge, intercept, gated):
    states, gap, gates = rows_of(gated=gated)

    found = correction(moments_of(states, gap, gates), form, ridge, intercept=intercept)

    expected = by_rows(states, gap, gates, form, ridge, intercept)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("gated", [False, True])
def test_the_error_is_that_of_the_rows(gated):
    states, gap, gates = rows_of(gated=gated)
    drawn = np.random.default_rng(1).normal(size=(WIDTH, WIDTH + 1))

    error = moments_of(states, gap, gates).error(torch.from_numpy(drawn))

    mapped = (states @ drawn[:, :WIDTH].T + drawn[:, WIDTH]) * (1 if gates is None else gates)
    assert error == pytest.approx(((gap - mapped) ** 2).sum())


def test_the_more_free_a_form_the_less_it_leaves_of_what_it_was_fitted_on():
    states, gap, gates = rows_of()
    moments = moments_of(states, gap, gates)

    left = [moments.error(correction(moments, form, 1e-8)) for form in FORMS]

    assert left[0] > left[1] > left[2]


def test_a_linear_gap_is_closed():
    states, _, _ = rows_of(200)
    matrix = np.random.default_rng(2).normal(size=(WIDTH, WIDTH))
    moments = [moments_of(part, part @ matrix.T + 2, None) for part in (states[:150], states[150:])]

    found = fit(*moments, "least-squares")

    assert found.left < 1e-10
    np.testing.assert_allclose(found.correction[:, :WIDTH].numpy(), matrix, atol=1e-5)
    np.testing.assert_allclose(found.correction[:, WIDTH].numpy(), 2, atol=1e-5)


def test_noise_is_not_fitted():
    """What helps on the positions it was fitted on, and not on others, is held down until it does no harm."""
    rng = np.random.default_rng(0)
    chosen, held = (moments_of(rng.normal(size=(n, 30)), rng.normal(size=(n, 30)), None) for n in (40, 200))

    found = fit(chosen, held, "least-squares")

    assert held.error(correction(chosen, "least-squares", 1e-8)) > 1.5 * float(held.squares.sum())
    assert found.left <= 1
    assert float(found.correction[:, :30].norm()) < 0.2 * float(correction(chosen, "least-squares", 1e-8).norm())


def test_where_nothing_is_missing_nothing_is_done():
    states, gap, _ = rows_of()
    moments = [moments_of(states, 0 * gap, None)] * 2

    found = fit(*moments, "least-squares")

    assert found.left == 1
    assert torch.count_nonzero(found.correction) == 0
