"""transformers without its chatter, and bitsandbytes without code from a hub.

bitsandbytes comes with transformers and accelerate, and on processors with AVX512-BF16 it fetches and runs code from
the hub as it is imported, where the package `kernels` is installed; where it is not, it warns of that. It is imported
here first, with `kernels` out of its reach: no code from a hub, and its own kernels do the work.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

HUB_KERNELS = "kernels"


def _import_bitsandbytes() -> None:
    logger = logging.getLogger("bitsandbytes.backends.cpu.ops")
    level = logger.level
    modules: dict[str, Any] = sys.modules
    before = modules.get(HUB_KERNELS)
    modules[HUB_KERNELS] = None  # what makes `import kernels` an ImportError
    logger.setLevel(logging.ERROR)
    try:
        import_module("bitsandbytes")
    except Exception as error:  # the machine lacks it; what needs it will say so
        logging.getLogger(__name__).debug("bitsandbytes cannot be imported: %s", error)
    finally:
        logger.setLevel(level)
        if before is None:
            del modules[HUB_KERNELS]
        else:
            modules[HUB_KERNELS] = before


if "bitsandbytes" not in sys.modules:
    _import_bitsandbytes()


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars and no chatter of transformers, nor warnings of it for peft, while a model is worked on."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\.")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
