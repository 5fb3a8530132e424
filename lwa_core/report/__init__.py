"""From the files of a run folder to a report that people read: HTML, Markdown, a table for the terminal."""

from lwa_core.report.writing import write_report

__all__ = ["write_report"]
