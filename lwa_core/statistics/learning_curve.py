"""A power law through the first part of a training, and how far it misses the rest."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np

FEWEST = 9
"""Epochs below which nothing is fitted: two thirds of them hold three parameters."""


@attrs.frozen
class CurveFit:
    """limit − scale · epoch^−decay, by least squares through the first two thirds.

    Args:
        limit: Where it would end.
        decay: How fast.
        missed: Mean distance to the last third, which it has not seen, as a share of the mean of that.
    """

    limit: float
    decay: float
    missed: float


def fit_curve(values: Sequence[float]) -> CurveFit | None:
    """The fit to a figure by epoch, from the first on; None for fewer than `FEWEST`, or where none is found."""
    from scipy.optimize import curve_fit

    if len(values) < FEWEST or not np.isfinite(values).all():
        return None
    epochs, figures = np.arange(1, len(values) + 1, dtype=np.float64), np.asarray(values, dtype=np.float64)
    seen = 2 * len(values) // 3
    spread = float(np.ptp(figures[:seen]))
    if spread == 0:
        return None

    def curve(epoch: np.ndarray, limit: float, scale: float, decay: float) -> np.ndarray:
        return limit - scale * epoch**-decay

    begin = (float(figures[seen - 1]), float(figures[seen - 1] - figures[0]) or spread, 1.0)
    try:
        (limit, scale, decay), _ = curve_fit(
            curve, epochs[:seen], figures[:seen], p0=begin, bounds=([-np.inf, -np.inf, 0.01], [np.inf, np.inf, 10.0])
        )
    except RuntimeError:  # it does not settle
        return None
    rest = figures[seen:]
    missed = float(np.abs(curve(epochs[seen:], limit, scale, decay) - rest).mean() / np.abs(rest).mean())
    return CurveFit(float(limit), float(decay), missed)
