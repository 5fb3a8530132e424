"""The layers of a model, and what is asked of them. Importing this imports torch.

bitsandbytes comes with transformers and accelerate, and on processors with AVX512-BF16 it fetches and runs code from
the hub as it is imported, where the package `kernels` is installed; where it is not, it warns of that. It is imported
here first, with `kernels` out of its reach: no code from a hub, and its own kernels do the work.
"""

from __future__ import annotations

import logging
import sys
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
