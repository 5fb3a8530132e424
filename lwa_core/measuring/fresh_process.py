"""Python processes that see what is installed and not what lies in the current folder.

`python -m` and `python -c` look for modules in the current folder first: a file torch.py or random.py, or a folder
numpy, that lies where somebody works would be imported instead of the library.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

APART = (
    "import sys; sys.path[:] = [folder for folder in sys.path if folder]; import runpy; "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)


def fresh_python(module: str, *arguments: str) -> list[str]:
    """The command line that runs an installed module in a fresh process."""
    return [sys.executable, "-c", APART, module, *arguments]


@contextmanager
def apart() -> Iterator[None]:
    """Inside, processes that the standard library starts do likewise (from Python 3.11 on, which can be told so)."""
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before
