"""What the files of a saved adapter must be before peft reads them."""

from __future__ import annotations

from pathlib import Path

from safetensors import safe_open

from lwa_core.errors import ModelError
from lwa_core.modeling.files.model_folder import json_object

FILES = ("adapter_config.json", "adapter_model.safetensors")
IMPORTS = "megatron_config"
"""Where it is set, peft imports the module that `megatron_core` names."""


def assert_readable(folder: Path) -> None:
    """See that a folder holds a LoRA adapter, no larger than its weights.

    Raises:
        ModelError: A file is missing or damaged, it is an adapter of another kind, or its configuration names code.
    """
    for name in FILES:
        if not (folder / name).is_file():
            raise ModelError(f"cannot load the adapter in {folder}: {name} is missing")
    values = json_object(folder / FILES[0])
    if values.get("peft_type") != "LORA" or values.get(IMPORTS):
        raise ModelError(f"cannot load the adapter in {folder}: it is no plain LoRA adapter")
    try:
        with safe_open(folder / FILES[1], "pt") as opened:
            widest = max((max(opened.get_slice(name).get_shape(), default=0) for name in opened.keys()), default=0)  # noqa: SIM118
    except Exception as error:  # safetensors raises its own kind, the system others
        raise ModelError(f"cannot load the adapter in {folder}: {error}") from error
    patterns = values.get("rank_pattern")
    for rank in (values.get("r"), *(patterns.values() if isinstance(patterns, dict) else ())):
        if type(rank) is not int or not 0 < rank <= widest:
            raise ModelError(f"cannot load the adapter in {folder}: its rank is {rank!r}, its widest tensor {widest}")
