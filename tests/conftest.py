"""Shared by all tests: where real data lies, and what is left out where torch is not installed."""

from __future__ import annotations

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as there are processors: threads would fight over them
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from importlib.util import find_spec
from pathlib import Path

import hypothesis
import pytest

# A first example that imports scipy, or a busy machine, must not fail a test: no test is timed.
hypothesis.settings.register_profile("lwa", deadline=None)
hypothesis.settings.load_profile("lwa")

# Tests name Python files of their own; those about asking for leave take this away.
os.environ["LWA_ALLOW_LOCAL"] = "1"

NEED_TORCH = [
    "core/bench",
    "core/cli/test_cli_device.py",
    "core/cli/test_cli_run.py",
    "core/measuring",
    "core/modeling",
    "core/pipeline",
    "core/recommendation",
    "core/runtime",
    "core/results/test_cold_start.py",
    "core/results/test_summary.py",
    "core/results/test_text_summary.py",
    "core/test_api.py",
    "core/test_one_rule.py",
    "core/study/test_study_run.py",
    "core/text",
    "core/training",
    "docs/test_docs_torch.py",
    "end_to_end",
    "plugins_builtin/compressors",
    "plugins_builtin/recommenders",
    "plugins_builtin/scorers",
    "plugins_builtin/selectors",
    "plugins_builtin/test_exporters_conform.py",
]

collect_ignore = [] if find_spec("torch") else NEED_TORCH


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder that LWA_DATA names, with one folder for each public data set."""
    folder = os.environ.get("LWA_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("real data is not here: set LWA_DATA to the folder that holds it")
    return Path(folder)
