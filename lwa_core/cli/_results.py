"""What `lwa run` and `lwa report` print of a run: whether layers are worth it, its tables, its warnings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lwa_core.cli._table import show_table
from lwa_core.cli._terminal import echo, say

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lwa_core.results.reading import Results
    from lwa_core.results.schema import Caution


def show_results(results: Results) -> None:
    """Whether the teacher beats what needs no training, and the tables, on stdout; warnings on stderr.

    A teacher that has not converged is warned of before all else.
    """
    from lwa_core.report.answer import baseline
    from lwa_core.report.terminal import result_tables
    from lwa_core.results.convergence import CODE
    from lwa_core.results.warnings import performance_warnings

    warnings = results.metrics.warnings
    _warn(warning for warning in warnings if warning.code == CODE)
    for sentence in baseline(results):
        echo(sentence)
        echo()
    for table in result_tables(results):
        show_table(table)
        echo()
    _warn(warning for warning in [*warnings, *performance_warnings(results)] if warning.code != CODE)


def _warn(warnings: Iterable[Caution]) -> None:
    for warning in warnings:
        say(f"warning[{warning.code}]: {warning.message}", err=True)
