"""Run in a fresh process: load a model, answer a few requests, print how much memory that took.

python -m lwa_core.measuring.memory FOLDER REQUESTS.json [DEVICE [PARENT]]
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from lwa_core.measuring.process_memory import peak, reset_peak, resident
from lwa_core.modeling.files.model_folder import SUBJECT
from lwa_core.training.parent import end_with

TOO_LITTLE = 75
"""Exit code where the machine had too little memory or disk left, which is no matter of the model."""


def measure(folder: Path, requests: list[dict[str, Any]]) -> dict[str, Any]:
    """Load the model in `folder` and recommend for each request; bytes of this process.

    Args:
        folder: Of the model.
        requests: Arguments of `Ranker.recommend`: `history`, and `times` for a model that looks at times; for a model
            of texts, a `text`.

    Returns:
        `before`: resident memory once the libraries are imported and nothing is loaded (None where the system does
        not tell); `peak`: highest resident memory from then to the end (from the start of the process, where the
        system cannot reset it); `model`: parameters and buffers; `gpu_peak`: highest allocated GPU memory, or None.
    """
    for name in needed_modules(folder):
        import_module(name)
    import torch

    from lwa_core.modeling.devices import device
    from lwa_core.modeling.files.sizes import memory_bytes

    before = resident("VmRSS")
    reset_peak()
    network = answered(folder, requests)
    return {
        "before": before,
        "peak": peak(),
        "model": memory_bytes(network),
        "gpu_peak": torch.cuda.max_memory_allocated(device()) if device().type == "cuda" else None,
    }


def answered(folder: Path, requests: list[dict[str, Any]]) -> Any:
    """Load the model in `folder`, answer each request, and give the network."""
    if (folder / SUBJECT).is_file():
        from lwa_core.text.loading import load_text_model

        model = load_text_model(folder)
        for request in requests:
            model.answer([request["text"]], model.longest)
        return model.model
    from lwa_core.recommendation.loading import load_ranker

    ranker = load_ranker(folder)
    for request in requests:
        ranker.recommend(**request, k=10)
    return ranker.model


def needed_modules(folder: Path) -> list[str]:
    """Libraries that loading this model imports, so that they are not counted as the model's share."""
    ours = "lwa_core.text.loading" if (folder / SUBJECT).is_file() else "lwa_core.recommendation.loading"
    names = ["torch", "transformers.modeling_utils", ours]
    config = folder / "config.json"
    if config.is_file() and "quantization_config" in config.read_text("utf-8"):
        names.append("bitsandbytes")
    if any(folder.rglob("adapter_config.json")):
        names.append("peft")
    return names


def main(arguments: list[str]) -> None:
    """Print the figures of the model in the first argument for the requests in the file of the second, on a device.

    The process ends when the one whose id the last argument is ends.
    """
    folder, requests, *named = arguments
    if named[1:]:
        end_with(int(named[1]))
    from lwa_core.modeling.devices import use_device

    try:
        with use_device(named[0] if named else "auto"):
            print(json.dumps(measure(Path(folder), json.loads(Path(requests).read_text("utf-8")))))
    except Exception as error:
        if _is_for_want_of_room(error):
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            sys.exit(TOO_LITTLE)
        raise


def _is_for_want_of_room(error: Exception) -> bool:
    """Whether another time, or on another machine, the same might go well."""
    import torch

    from lwa_core.store.refusals import shortage

    texts = ("can't allocate memory", "Cannot allocate memory")  # torch's own on the CPU has no type
    known = isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(text in str(error) for text in texts)
    return known or shortage(error) is not None


if __name__ == "__main__":
    main(sys.argv[1:])
