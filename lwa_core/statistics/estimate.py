"""A mean with its interval, and how many of its digits mean anything."""

from __future__ import annotations

import math

import attrs
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@attrs.frozen
class Estimate:
    """A mean with its confidence interval."""

    mean: float
    low: float
    high: float


@attrs.frozen
class StudentEstimate(Estimate):
    """A mean with its Student-t interval and the standard error that it follows from."""

    standard_error: float


def student_t(values: Floats, confidence: float = 0.95) -> StudentEstimate:
    """The mean of independent values (n,), at least two, with its standard error sd / √n and its interval."""
    mean, error = float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))
    half = student_half(len(values), confidence) * error
    return StudentEstimate(mean, mean - half, mean + half, error)


def student_half(count: int, confidence: float = 0.95) -> float:
    """Half the width of the two-sided Student-t interval of a mean of `count` values, in standard errors."""
    from scipy.special import stdtrit

    return float(stdtrit(count - 1, 0.5 + confidence / 2))


def ten_digits(value: float) -> float:
    """Ten significant digits: the last ones depend on how the libraries of a machine order their additions."""
    return float(f"{value:.10g}")


def finite_digits(value: float) -> float | None:
    """The same; None where the value is not finite, which JSON cannot say."""
    return ten_digits(value) if math.isfinite(value) else None
