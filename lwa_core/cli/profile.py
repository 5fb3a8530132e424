"""`lwa profile`: does a model or bundle fit a device?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lwa_core.cli._options import example, json_option
from lwa_core.cli._paths import FilePath
from lwa_core.cli._terminal import echo, print_json

if TYPE_CHECKING:
    from lwa_core.results.devices import Device

EPILOG = """
  lwa profile lwa-runs/runs/movies-1a2b3c4d --profile mobile
  lwa profile movies.bundle --profile mobile --profile phone.toml --json

Built in are mobile, edge and cloud; a file holds any of memory_mb, p95_ms, cold_start_s, disk_mb, threads and keep.
Ends with exit code 10 where nothing passes a profile.
"""


@click.command(epilog=example(EPILOG))
@click.argument("folder", type=FilePath())
@click.option("--profile", "uses", multiple=True, required=True, metavar="NAME|FILE", help="May be repeated.")
@click.option(
    "--model",
    "names",
    multiple=True,
    metavar="NAME",
    help="Which model or bundle of a run; what its last step left and all bundles where left out. May be repeated.",
)
@json_option
def command(*, folder: Path, uses: tuple[str, ...], names: tuple[str, ...], as_json: bool) -> None:
    """Measure models and bundles of a run, or one bundle, in fresh processes, and hold them against devices.

    Memory, time, start and size are measured now, on this machine. The share of the teacher's quality is what the run
    measured: a run folder and the bundles in it know it.
    """
    from lwa_core.cli._progress import Progress
    from lwa_core.errors import GateError
    from lwa_core.pipeline.events import Bus, StageReporter
    from lwa_core.pipeline.profiling import profiled
    from lwa_core.plugins.registry import Registry
    from lwa_core.recipe.profiles import find_profile
    from lwa_core.types import RunContext

    profiles = [find_profile(use) for use in dict.fromkeys(uses)]
    with Progress() as progress:
        bus = Bus(Registry.discover(), RunContext(folder.name, folder), [progress])
        found = profiled(folder, profiles, names, StageReporter(bus, "measure"))
    if as_json:
        print_json([_told(device) for device in found])
    else:
        _show(found)
    failing = [device.name for device in found if not device.passing]
    if failing:
        raise GateError(f"nothing passes {' and '.join(failing)}")


def _show(found: list[Device]) -> None:
    from lwa_core.cli._table import show_table
    from lwa_core.report.devices import sentence, table

    for device in found:
        show_table(table(device))
        echo(f"\n{device.name}: {sentence(device)}\n")


def _told(device: Device) -> dict[str, Any]:
    return {
        "profile": device.name,
        "threads": device.limits.threads,
        "passes": [fit.name for fit in device.passing],
        "configurations": [
            {
                "name": fit.name,
                "passed": fit.passed,
                "checks": {
                    check.name.replace(" ", "_"): {
                        "measured": None if check.measured is None else check.measured.mean,
                        "low": None if check.measured is None else check.measured.low,
                        "high": None if check.measured is None else check.measured.high,
                        "allowed": check.allowed,
                        "unit": check.unit,
                        "passed": check.passed,
                    }
                    for check in fit.checks
                },
            }
            for fit in device.fits
        ],
    }
