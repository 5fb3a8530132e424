"""What the report says of devices: for each profile what passes, and what is measured beside what is allowed."""

from __future__ import annotations

import attrs

from lwa_core.report.tables import Table
from lwa_core.results.devices import Check, Device, Fit, devices
from lwa_core.results.figures import NOT_MEASURED, percent
from lwa_core.results.reading import Results
from lwa_core.results.schema import Figure

NOTE = "Of an interval the end that speaks against passing counts; !: outside the limit."


@attrs.frozen
class Shown:
    """One device as the report shows it.

    Args:
        name: Of its profile.
        sentence: What passes, in words.
        table: Behind that.
        busy: What speaks against believing the times; empty where nothing does.
        note: How to read the table.
    """

    name: str
    sentence: str
    table: Table
    busy: str
    note: str = NOTE


def told(results: Results) -> list[Shown]:
    """Of every profile that the recipe names."""
    return [Shown(each.name, _capital(sentence(each)), table(each), busy(each)) for each in devices(results)]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def sentence(device: Device) -> str:
    """Which configuration is the one for a device, or by how much all of them fail."""
    deepest, fastest, nearest = device.deepest, device.fastest, device.nearest
    if deepest is not None and fastest is not None:
        said = f"{_fit(deepest)} is the deepest that passes"
        if deepest is fastest:
            return f"{said}, and the fastest."
        return f"{said}, {_fit(fastest)} the fastest."
    if nearest is None or nearest.worst is None:
        return "nothing was measured for it."
    worst = nearest.worst
    by = ""
    if worst.counts is not None:
        times = f", {worst.excess:.2f} times what is allowed"
        by = f", and at least {percent(worst.allowed)} is asked for" if worst.least else times
    said = f"none passes. Nearest is {_fit(nearest)}: its {worst.name} is {amount(worst)}{by}"
    return f"{said}{_others(nearest)}."


def _fit(fit: Fit) -> str:
    return fit.name if fit.depth is None else f"{fit.name} ({fit.depth} layer{'' if fit.depth == 1 else 's'})"


def _others(fit: Fit) -> str:
    """Which other limits it does not keep to."""
    names = [check.name for check in fit.checks if not check.passed and check is not fit.worst]
    return f"; {' and '.join(names)} fail{'s' if len(names) == 1 else ''} too" if names else ""


def table(device: Device) -> Table:
    """Every configuration: what was measured beside what is allowed, and the verdict."""
    title, first = f"{device.name}: {_processes(device)}", device.fits[0].checks if device.fits else ()
    columns = ["configuration", "verdict", *(f"{check.name} {_allowed(check)}" for check in first)]
    rows = [(fit.name, verdict(fit), *map(_cell, fit.checks)) for fit in device.fits]
    return Table(columns, rows, title=title, note="\n".join(filter(None, (NOTE, busy(device)))))


def busy(device: Device) -> str:
    """That the machine had more to do than this while it was measured; empty where it had not."""
    if device.busy is None:
        return ""
    return (
        f"The machine had {device.busy:.1f} times as much to do as it has processors: on a quiet one times and starts "
        "are shorter."
    )


def verdict(fit: Fit) -> str:
    """`pass`, or which limits fail."""
    failing = [check.name for check in fit.checks if not check.passed]
    return f"fails: {', '.join(failing)}" if failing else "pass"


def _processes(device: Device) -> str:
    threads = device.limits.threads
    return f"fresh processes with {threads} thread{'' if threads == 1 else 's'}"


def amount(check: Check) -> str:
    """What was measured, with its interval: `61.2 MB`, `1.32 ms (1.30 to 1.41)`."""
    found = check.measured
    if found is None or found.mean is None:
        return NOT_MEASURED
    if check.unit:
        return f"{found.mean:.3g} {check.unit}{_between(found, '{:.3g}', 1)}"
    return f"{percent(found.mean)}{_between(found, '{:.1f}', 100)}"


def _cell(check: Check) -> str:
    return amount(check) if check.passed else f"{amount(check)} !"


def _between(found: Figure, form: str, factor: float) -> str:
    if found.low is None or found.high is None or found.low == found.high:
        return ""
    return f" ({form.format(found.low * factor)} to {form.format(found.high * factor)})"


def _allowed(check: Check) -> str:
    if check.least:
        return f"≥ {percent(check.allowed)}"
    return f"≤ {check.allowed:g} {check.unit}"
