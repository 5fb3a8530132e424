"""docs/results.schema.json is the schema that `lwa schema --of results` prints.

After a change of the classes: LWA_UPDATE_SNAPSHOTS=1 pytest tests/docs/test_results_schema.py, then read the diff.
"""

from __future__ import annotations

import os

from click.testing import CliRunner
from documents import ROOT

from lwa_core.cli import main

FILE = ROOT / "docs" / "results.schema.json"


def test_the_file_is_what_the_command_prints():
    done = CliRunner().invoke(main, ["schema", "--of", "results"])

    assert 0 == done.exit_code
    if os.environ.get("LWA_UPDATE_SNAPSHOTS"):
        FILE.write_text(done.stdout, encoding="utf-8")
    assert FILE.read_text("utf-8") == done.stdout
