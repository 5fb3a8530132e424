import io

import run_files
from rich.console import Console

from lwa_core.report.terminal import result_table


def shown(metrics, performance, width=160):
    file = io.StringIO()
    Console(file=file, width=width).print(result_table(metrics, performance))
    return file.getvalue()


def test_every_model_has_its_line():
    text = shown(run_files.METRICS, run_files.PERFORMANCE)

    line = next(line for line in text.splitlines() if "distill-4" in line)
    cells = [cell.strip() for cell in line.strip("│ ").split("│")]
    assert [
        "distill-4",
        "4",
        "0.0975 [0.0915 to 0.1035]",
        "97.5 % [93.5 % to 101.5 %]",
        "1.5 MB",
        "2.19 ms",
        "0.55 [0.53 to 0.57]",
    ] == cells


def test_what_was_not_measured_is_a_dash():
    line = next(line for line in shown(run_files.METRICS, None).splitlines() if "teacher" in line)

    assert ["-", "2.4 MB", "-", "-"] == [cell.strip() for cell in line.strip("│ ").split("│")][3:]


def test_names_are_no_markup():
    metrics = run_files.metrics()
    metrics["models"][1]["name"] = "[red]drop[/red]"

    assert "[red]drop[/red]" in shown(metrics, None)
