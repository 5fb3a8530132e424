"""Which models and bundles fit which device: what was measured beside what the profile of the device allows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from lwa_core.measuring.timing import MOST_LOAD
from lwa_core.recipe.profiles import Limits
from lwa_core.results.reading import Results
from lwa_core.results.schema import Configuration, Figure, ModelResult

MB = 1e6


@attrs.frozen
class Check:
    """One limit of a profile, beside what was measured.

    Args:
        name: Of the limit.
        unit: Of both; empty for a share.
        measured: With the interval where there is one; None: it was not.
        allowed: The limit.
        least: Whether the limit is the least that is allowed instead of the most.
    """

    name: str
    unit: str
    measured: Figure | None
    allowed: float
    least: bool = False

    @property
    def counts(self) -> float | None:
        """What is held against the limit: the end of the interval that speaks against passing."""
        found = self.measured
        if found is None:
            return None
        end = found.low if self.least else found.high
        return found.mean if end is None and not self.least else end

    @property
    def passed(self) -> bool:
        """Whether that lies within the limit; what was not measured does not."""
        if self.counts is None:
            return False
        return self.counts >= self.allowed if self.least else self.counts <= self.allowed

    @property
    def excess(self) -> float:
        """How many times the limit it is, above 1 where it fails; infinite where it was not measured."""
        if not self.counts:
            return float("inf")
        return self.allowed / self.counts if self.least else self.counts / self.allowed


@attrs.frozen
class Fit:
    """A model or bundle beside a profile.

    Args:
        name: Its name.
        depth: Its layers; None where that is not known.
        p95: Of a request, in milliseconds; None where not measured.
        checks: Of every limit that the profile states.
    """

    name: str
    depth: int | None
    p95: float | None
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether it keeps to every limit."""
        return all(check.passed for check in self.checks)

    @property
    def worst(self) -> Check | None:
        """The limit that it is farthest from keeping."""
        return max(self.checks, key=lambda check: check.excess, default=None)


@attrs.frozen
class Device:
    """What was found for one profile.

    Args:
        name: Of the profile.
        limits: What it allows.
        fits: Every configuration, in the order of the results.
        busy: The load of the machine for each processor while it was measured, where others were waiting; else None.
    """

    name: str
    limits: Limits
    fits: tuple[Fit, ...]
    busy: float | None = None

    @property
    def passing(self) -> list[Fit]:
        """The configurations that pass."""
        return [fit for fit in self.fits if fit.passed]

    @property
    def deepest(self) -> Fit | None:
        """The passing one with the most layers, of several the fastest."""
        return max(self.passing, key=lambda fit: (fit.depth or 0, -(fit.p95 or 0)), default=None)

    @property
    def fastest(self) -> Fit | None:
        """The passing one that answers 95 of 100 requests soonest."""
        return min(self.passing, key=lambda fit: fit.p95 or 0, default=None)

    @property
    def nearest(self) -> Fit | None:
        """Of those that fail the one that fails by least."""
        failing = [fit for fit in self.fits if not fit.passed]
        return min(failing, key=lambda fit: fit.worst.excess if fit.worst else 0, default=None)


def checks(limits: Limits, taken: Configuration | None, kept: Figure | None) -> tuple[Check, ...]:
    """Every limit beside what was measured.

    Args:
        limits: Of the profile.
        taken: What fresh processes took; None where not measured.
        kept: Share of the teacher's figure; None where not measured.
    """
    memory, disk = (None if taken is None else Figure(value / MB) for value in _sizes(taken))
    found = [
        Check("memory", "MB", memory, limits.memory_mb or 0),
        Check("p95", "ms", None if taken is None else taken.p95, limits.p95_ms or 0),
        Check("cold start", "s", None if taken is None else taken.cold_start, limits.cold_start_s or 0),
        Check("disk", "MB", disk, limits.disk_mb or 0),
        Check("share kept", "", kept, limits.keep or 0, least=True),
    ]
    return tuple(check for check in found if check.allowed)


def devices(results: Results) -> list[Device]:
    """What a run found for every profile of its recipe."""
    found = []
    for asked in results.metrics.asked.get("profile", ()):
        limits = limits_of(asked)
        taken = {} if results.performance is None else results.performance.configurations.get(str(limits.threads), {})
        found.append(Device(asked["name"], limits, fits_of(results, limits, taken), busy(taken.values())))
    return found


def fits_of(results: Results, limits: Limits, taken: Mapping[str, Configuration]) -> tuple[Fit, ...]:
    """Every configuration that was measured, beside the limits."""
    fits = []
    for model in results.models:
        if model.name not in taken:
            continue
        fits.append(fit_of(model.name, model, results.headline, limits, taken[model.name]))
    return tuple(fits)


def fit_of(name: str, model: ModelResult | None, headline: str, limits: Limits, taken: Configuration) -> Fit:
    """A configuration beside limits; `model`: what its run found out of it, None where nobody knows."""
    depth, kept = (None, None) if model is None else (model.depth, share_kept(model, headline))
    return Fit(name, depth, taken.p95.mean, checks(limits, taken, kept))


def share_kept(model: ModelResult, headline: str) -> Figure | None:
    """The share of the teacher's headline figure; all of it for the teacher, None where it was not measured."""
    if model.kind == "teacher":
        return Figure(1.0, 1.0, 1.0)
    return (model.kept or {}).get(headline)


def limits_of(asked: Mapping[str, Any]) -> Limits:
    """The limits of a profile, as the recipe's settings tell them."""
    return Limits(**{key: value for key, value in asked.items() if key not in ("use", "name")})


def busy(taken: Iterable[Configuration]) -> float | None:
    """The highest load of the machine for each processor, where that says that processes waited; else None."""
    loads = [each.load / each.processors for each in taken if each.load is not None and each.processors]
    highest = max(loads, default=0.0)
    return highest if highest > MOST_LOAD else None


def _sizes(taken: Configuration | None) -> tuple[int, int]:
    return (0, 0) if taken is None else (taken.memory, taken.disk)
