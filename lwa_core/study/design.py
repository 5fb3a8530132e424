"""Which cells a study has where they are drawn: at random, or by the designs of sensitivity analysis (SALib)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from lwa_core.errors import NeedsError

DESIGNS = ("grid", "random", "sobol", "morris")
LEVELS = 4
"""Of a Morris design, on each knob (Morris 1991)."""


@attrs.frozen
class Knob:
    """What varies: a key of the recipe with its values, or the range that they are drawn from."""

    key: str
    name: str
    values: tuple[Any, ...]
    labels: tuple[str, ...]
    together: str = ""
    low: float | None = None
    high: float | None = None
    log: bool = False
    whole: bool = False

    def value(self, at: float) -> float | int:
        """The value at a place between 0 and 1."""
        assert self.low is not None
        assert self.high is not None
        if self.log:
            value = float(np.exp(np.log(self.low) + at * (np.log(self.high) - np.log(self.low))))
        else:
            value = self.low + at * (self.high - self.low)
        return round(value) if self.whole else float(f"{value:.6g}")

    def place(self, value: float) -> float:
        """Where a value is between 0 and 1."""
        assert self.low is not None
        assert self.high is not None
        if self.log:
            return float((np.log(value) - np.log(self.low)) / (np.log(self.high) - np.log(self.low)))
        return (value - self.low) / (self.high - self.low)


def problem_of(knobs: Sequence[Knob]) -> dict[str, Any]:
    """The knobs as SALib takes them: all between 0 and 1."""
    return {"num_vars": len(knobs), "names": [knob.name for knob in knobs], "bounds": [[0.0, 1.0]] * len(knobs)}


def places(design: str, knobs: Sequence[Knob], samples: int, seed: int) -> NDArray[np.float64]:
    """Where the cells of a drawn design lie (cells, knobs), each between 0 and 1, in the design's own order.

    Raises:
        NeedsError: SALib is not there.
    """
    if design == "random":
        return np.random.default_rng(seed).random((samples, len(knobs)))
    salib = _salib()
    problem = problem_of(knobs)
    if design == "sobol":
        base = 1 << (samples - 1).bit_length()  # the sequence is balanced at powers of two
        return np.asarray(salib.sobol.sample(problem, base, calc_second_order=False, seed=seed))
    return np.asarray(salib.morris.sample(problem, samples, num_levels=LEVELS, seed=seed))


def draw(design: str, knobs: Sequence[Knob], samples: int, seed: int) -> list[dict[str, float | int]]:
    """The distinct cells of a drawn design, by the name of each knob its value."""
    found: dict[tuple[Any, ...], dict[str, float | int]] = {}
    for row in places(design, knobs, samples, seed):
        values = {knob.name: knob.value(at) for knob, at in zip(knobs, row, strict=True)}
        found.setdefault(tuple(values.values()), values)
    return list(found.values())


def _salib() -> Any:
    try:
        import SALib.sample.morris
        import SALib.sample.sobol
    except ImportError as error:
        raise NeedsError("the designs sobol and morris need SALib", "pip install 'lwa[study]'") from error
    return SALib.sample
