"""A mean with its interval."""

from __future__ import annotations

import attrs


@attrs.frozen
class Estimate:
    """A mean with its confidence interval."""

    mean: float
    low: float
    high: float
