"""A figure with its interval, and how many of its digits mean anything."""

from __future__ import annotations

import math

import attrs


@attrs.frozen
class Estimate:
    """A figure with its confidence interval; both ends are None where no interval would hold what it promises."""

    mean: float
    low: float | None = None
    high: float | None = None

    @classmethod
    def between(cls, mean: float, low: float, high: float) -> Estimate:
        """From ends that are NaN where there is no interval."""
        known = not (math.isnan(low) or math.isnan(high))
        return cls(mean, low, high) if known else cls(mean)


def ten_digits(value: float) -> float:
    """Ten significant digits: the last ones depend on how the libraries of a machine order their additions."""
    return float(f"{value:.10g}")


def finite_digits(value: float | None) -> float | None:
    """The same; None where there is no value, or none that is finite, which JSON cannot say."""
    return None if value is None or not math.isfinite(value) else ten_digits(value)
