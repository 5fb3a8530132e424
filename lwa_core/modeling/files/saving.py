"""Load a saved model, whatever was done to it: full precision, 4-bit, with an adapter."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import nn

from lwa_core.errors import ModelError
from lwa_core.modeling.devices import device
from lwa_core.modeling.files.adapter_folder import assert_readable
from lwa_core.modeling.files.model_folder import CONFIG, assert_borne_out, held_in, read_values
from lwa_core.modeling.files.precision import cast
from lwa_core.modeling.files.pretrained import open_pretrained, read_config
from lwa_core.modeling.layers.packed_weights import assert_loaded_weights_decode
from lwa_core.modeling.libraries import quiet_transformers

ADAPTER = "adapter"
WEIGHTS = "model.safetensors"


def load_pretrained(cls: Any, folder: Path, spare: Callable[[list[str]], None] | None = None) -> nn.Module:
    """Load what `save_model` saved, in eval mode: local files only, no remote code, safetensors only.

    Args:
        cls: What loads it.
        folder: Where it is.
        spare: Told of weights that the model has no use for, which are an error where it is left out.

    Raises:
        ModelError: There is no such model, it is damaged, or weights are missing or left over, which transformers
            would fill with random numbers or drop with a warning; or the weights hold less than it describes.
    """
    if _BLANK.get():
        return _blank(cls, folder)
    quantised = "quantization_config" in read_values(folder)
    model, info = open_pretrained(cls, folder, **({"device_map": {"": device()}} if quantised else {}))
    odd = {
        what: sorted(map(str, info[what]))
        for what in ("missing_keys", "unexpected_keys", "mismatched_keys")
        if info.get(what)
    }
    if spare is not None and "unexpected_keys" in odd:
        spare(odd.pop("unexpected_keys"))
    if odd:
        raise ModelError(f"the weights in {folder} do not fit its config.json: {odd}")
    if quantised:
        forbid_repacking(model)
        assert_loaded_weights_decode(model)
    if (folder / ADAPTER).is_dir():
        model = _with_adapter(model, folder / ADAPTER)
    if not quantised:
        model.to(device())
    model.eval()
    return model


_BLANK: ContextVar[bool] = ContextVar("lwa_without_weights", default=False)


@contextmanager
def without_weights() -> Iterator[None]:
    """Inside, `load_pretrained` and `load_weights` read no weights: somebody else does.

    The former builds what config.json says, the latter leaves a model as it is.
    """
    token = _BLANK.set(True)
    try:
        yield
    finally:
        _BLANK.reset(token)


def _blank(cls: Any, folder: Path) -> nn.Module:
    held = held_in(folder, sorted(path.name for path in folder.glob("*.safetensors")))
    if held.files:  # a compressor may keep its weights otherwise
        assert_borne_out(folder / CONFIG, read_values(folder), held)
    try:
        with quiet_transformers():
            config = read_config(folder, cls)
            made: nn.Module = (cls.from_config(config) if hasattr(cls, "from_config") else cls(config)).to(device())
            if str(config.dtype) == "torch.bfloat16":
                cast(made, "bfloat16")
    except Exception as error:  # every family has its own
        raise ModelError(f"cannot build the model that {folder} describes: {error}") from error
    return made.eval()


def save_config(model: Any, folder: Path) -> None:
    """Write the configuration of a model alone: its weights are somebody else's to write.

    Raises:
        ModelError: It has none.
    """
    config = getattr(model, "config", None)
    if config is None or not hasattr(config, "save_pretrained"):
        raise ModelError(f"{type(model).__name__} has no configuration of transformers to save, and `load` needs one")
    with quiet_transformers():
        config.save_pretrained(folder)


def save_weights(model: nn.Module, folder: Path) -> None:
    """Write every tensor of a model's state: what `load_weights` reads into a model of the same modules."""
    from safetensors.torch import save_model as save_state

    folder.mkdir(parents=True, exist_ok=True)
    save_state(model, str(folder / WEIGHTS))


def load_weights(model: nn.Module, folder: Path) -> nn.Module:
    """Read what `save_weights` wrote into a model of the same modules; it is given back in eval mode, on its device.

    Raises:
        ModelError: The file is missing or damaged, or holds other tensors than the model has.
    """
    from safetensors.torch import load_model as load_state

    if _BLANK.get():
        return model.to(device()).eval()
    file = folder / WEIGHTS
    try:
        _take_precision(model, file)
        load_state(model, str(file))
    except Exception as error:  # safetensors raises several kinds for a bad file, torch others for other tensors
        raise ModelError(f"the weights in {folder} do not fit the model: {error}") from error
    return model.to(device()).eval()


def _take_precision(model: nn.Module, file: Path) -> None:
    """Give each tensor of a model the precision in which the file has it: copying would keep the model's own."""
    with safe_open(file, "pt") as opened:
        names = set(opened.keys())
        for name, tensor in model.state_dict(keep_vars=True).items():
            if name in names and tensor.is_floating_point():
                tensor.data = tensor.data.to(opened.get_tensor(name).dtype)


def forbid_repacking(model: nn.Module) -> None:
    """Let 4-bit weights stay as they were made.

    On processors with AVX512-BF16 bitsandbytes 0.50 packs them anew in the first pass without gradients, the scales
    rounded to bfloat16, and undoes that on saving, but for the rounding: another model would be saved than was used.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            vars(module)["support_avx512bf16_for_cpu"] = False


def _with_adapter(model: nn.Module, folder: Path) -> nn.Module:
    """Put a saved adapter on a model.

    peft itself looks for other files where one is missing, pickles among them and on the network; it only warns of
    missing weights, and drops those that are left over without a word.
    """
    from peft import PeftModel, get_peft_model_state_dict

    assert_readable(folder)
    try:
        with quiet_transformers(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Found missing adapter keys")
            adapted: nn.Module = PeftModel.from_pretrained(model, str(folder), local_files_only=True)
        with safe_open(folder / "adapter_model.safetensors", "pt") as file:
            odd = set(get_peft_model_state_dict(adapted)) ^ set(file.keys())
    except Exception as error:  # peft, safetensors and json raise many kinds for a bad folder
        raise ModelError(f"cannot load the adapter in {folder}: {error}") from error
    if odd:
        raise ModelError(f"the weights of the adapter in {folder} do not fit: {sorted(odd)}")
    return adapted


def save_model(model: nn.Module, folder: Path) -> None:
    """Save a model so that `load_pretrained` gives the same outputs: a peft model as its base plus `adapter/`."""
    base: Any = model
    with quiet_transformers():
        if hasattr(model, "peft_config"):
            model.save_pretrained(folder / ADAPTER)  # type: ignore[operator]
            (folder / ADAPTER / "README.md").unlink(missing_ok=True)
            base = _without_adapter(model)
        # What was loaded in 4 bits is packed already as it lies in a file; transformers would try to undo the loading.
        base.save_pretrained(folder, save_original_format=getattr(base, "hf_quantizer", None) is None)


def _without_adapter(model: Any) -> Any:
    """The base of a peft model with its own modules back in place (on a copy: `unload` changes the model)."""
    import copy

    return copy.deepcopy(model).unload()
