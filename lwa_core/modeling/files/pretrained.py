"""Load what `save_pretrained` wrote: local files only, safetensors only, no code, and no more than the weights hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from lwa_core.errors import ModelError
from lwa_core.modeling.files.bounded_building import no_larger_than
from lwa_core.modeling.files.model_folder import CONFIG, assert_borne_out, held_by, read_values
from lwa_core.modeling.libraries import quiet_transformers

SAFE_LOADING: dict[str, Any] = {
    "local_files_only": True,
    "trust_remote_code": False,
    "use_safetensors": True,
    "output_loading_info": True,
    "ignore_mismatched_sizes": True,  # they come back in the information, where the error would only hint at them
}
"""How `from_pretrained` loads weights of others: nothing fetched, no code, nothing unpickled, and all told."""

ADAPTER_CONFIG = "adapter_config.json"


def read_config(folder: Path, cls: Any = None) -> Any:
    """The configuration in a folder. What it says of implementations of attention and of kernels is left out.

    Args:
        folder: Where `config.json` is.
        cls: The class of transformers that is to be built; by `model_type` where it is none or one of the `Auto`
            classes.

    Raises:
        ModelError: There is none, or it is none of a family of transformers.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    values = read_values(folder)
    kind: Any = getattr(cls, "config_class", None)
    try:
        if kind is None:
            name = values.get("model_type")
            if not isinstance(name, str) or name not in CONFIG_MAPPING:
                said = f"{CONFIG}: {name!r} is no `model_type` of this transformers"
                raise ModelError(f"cannot load the model in {folder}: {said}")
            kind = CONFIG_MAPPING[name]
        with quiet_transformers():
            config = kind.from_dict(values)
    except ModelError:
        raise
    except Exception as error:  # every family has its own checks
        raise ModelError(f"{folder / CONFIG} describes no model: {' '.join(str(error).split())}") from error
    return config


def open_pretrained(cls: Any, folder: Path, config: Any = None, **how: Any) -> tuple[nn.Module, dict[str, Any]]:
    """A model of transformers, and what its loader told of the weights.

    Args:
        cls: Whose `from_pretrained` is called.
        folder: Where it is.
        config: What `read_config` gave; read where left out.
        how: What else `from_pretrained` is given.

    Raises:
        ModelError: The folder holds no such model, or another one than its weights bear out.
    """
    held = held_by(folder)
    assert_borne_out(folder / CONFIG, read_values(folder), held)
    if (folder / ADAPTER_CONFIG).is_file():
        raise ModelError(f"{folder} holds an adapter beside a model", "merge it into the model, and save that")
    config = read_config(folder, cls) if config is None else config
    try:
        with quiet_transformers(), no_larger_than(held):
            model, info = cls.from_pretrained(folder, config=config, **SAFE_LOADING, **how)
    except ModelError:
        raise
    except Exception as error:  # transformers and safetensors raise many kinds for a bad folder
        raise ModelError(f"cannot load the model in {folder}: {' '.join(str(error).split())}") from error
    return model, info
