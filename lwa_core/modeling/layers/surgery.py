"""Make a model that has fewer layers, as `from_pretrained` would make it.

The new model is built from its own, cut configuration, read back as from a file, and given the tensors of the layers
that stay. So what it is here it is after a reload. Nothing is trusted: names, shapes and ties of the tensors, the
settings of every kept layer and, on made-up inputs, the answers must be those of the full model without the layers.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from lwa_core.errors import ModelError
from lwa_core.modeling.layers.cut_config import Values, proposals
from lwa_core.modeling.layers.equivalence import difference_of_layers, ties
from lwa_core.modeling.layers.state_maps import has_maps
from lwa_core.modeling.libraries import quiet_transformers

HANDED_ON = ("relative_attention_bias", "global_relative_attention_bias", "rel_attn_embed")
"""Modules that only the first layer has, and whose result it hands on to all others (T5, WavLM and their kin).

Where the first layer goes, they move to the layer that comes first then.
"""
UNSAYABLE = "its configuration cannot say it"


def cut_model(model: nn.Module, path: str, kept: Sequence[int]) -> nn.Module:
    """A model that has just the layers `kept` of the list at `path`, with copies of their tensors.

    Raises:
        ModelError: No configuration of this family says what these layers are.
    """
    config: Any = getattr(model, "config", None)
    depth = len(model.get_submodule(path))  # type: ignore[arg-type]
    if getattr(model, "hf_quantizer", None) is not None:
        raise ModelError("layers of a quantised model cannot be removed", "remove layers first, then quantise")
    if has_maps(model):
        raise ModelError("layers of a model with maps between them cannot be removed", "remove layers first, then map")
    reasons = []
    if hasattr(config, "to_dict"):
        for values in proposals(config.to_dict(), sections(model, path), path, kept, depth):
            try:
                return Transplant(model, path, kept, depth).into(blank_model(model, values))
            except ModelError as error:
                reasons.append(error.message)
    if not reasons:
        raise ModelError(
            f"{type(model).__name__} has no configuration that states its depth ({depth} layers at {path}), "
            "so it cannot be reloaded with fewer layers"
        )
    told = next((reason for reason in reasons if not reason.startswith(UNSAYABLE)), reasons[0])
    raise ModelError(
        f"layers of {type(model).__name__} cannot be removed so that it reloads with {list(kept)}: {told}",
        "docs/families.md says what can be removed from which family",
    )


def sections(model: nn.Module, path: str) -> list[tuple[str, ...]]:
    """Where in the configuration the layers may be described: sections like that of their owner, then the top."""
    root: Any = model.config
    parts = path.split(".")
    owners = [model.get_submodule(".".join(parts[:length])) for length in range(len(parts) - 1, -1, -1)]
    owner = next(owner.config for owner in owners if getattr(owner, "config", None) is not None)
    found = [keys for keys, section in _walk(root, ()) if type(section) is type(owner)]
    # An encoder and a decoder of one family: the one that the path names.
    found.sort(key=lambda keys: -sum(key.removesuffix("_config") in path for key in keys))
    return found if () in found else [*found, ()]


def _walk(config: Any, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield keys, config
    for name, value in vars(config).items():
        if hasattr(value, "to_dict") and hasattr(value, "model_type"):
            yield from _walk(value, (*keys, name))


def blank_model(model: nn.Module, values: Values) -> nn.Module:
    """A model of a configuration, its parameters on the meta device and its buffers as they are computed.

    Raises:
        ModelError: The family's own checks refuse the configuration.
    """
    from accelerate import init_empty_weights

    config: Any = model.config
    try:
        with quiet_transformers(), tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
            type(config).from_dict(copy.deepcopy(values)).save_pretrained(folder)
            read = type(config).from_pretrained(Path(folder), local_files_only=True)
            _choose_alike(config, read)
            with init_empty_weights(include_buffers=False):
                blank: Any = type(model)(read)
            if hasattr(blank, "tie_weights"):
                blank.tie_weights()  # once more: on the way to the meta device parameters lose their identity
            return cast(nn.Module, blank)
    except Exception as error:  # every family has its own
        raise ModelError(f"{UNSAYABLE} ({' '.join(str(error).split())})") from error


def _choose_alike(old: Any, new: Any) -> None:
    """Carry over what a configuration holds but does not save: which implementation of attention runs."""
    for name in ("_attn_implementation_internal", "_experts_implementation_internal"):
        if name in vars(old):
            setattr(new, name, vars(old)[name])
    for name, value in vars(old).items():
        if hasattr(value, "to_dict") and hasattr(value, "model_type") and hasattr(new, name):
            _choose_alike(value, getattr(new, name))


class Transplant:
    """Gives a blank model the tensors of the layers that stay."""

    def __init__(self, model: nn.Module, path: str, kept: Sequence[int], depth: int) -> None:
        self.model, self.path, self.kept, self.depth = model, path, kept, depth
        self.copies: dict[int, torch.Tensor] = {}

    def into(self, blank: nn.Module) -> nn.Module:
        """The blank model, filled. Raises ModelError where it is another model than the old one without the layers."""
        there = len(blank.get_submodule(self.path))  # type: ignore[arg-type]
        if there != len(self.kept):
            raise ModelError(f"there would be {there} layers")
        self._compare(blank, self._fill(blank))
        blank.train(self.model.training)
        if getattr(self.model, "generation_config", None) is not None:
            blank.generation_config = copy.deepcopy(self.model.generation_config)
        return blank

    def _compare(self, blank: nn.Module, moved: set[str]) -> None:
        """Raise ModelError where a layer would be another one."""
        for new, old in enumerate(self.kept):
            before, after = self._layer(self.model, old), self._layer(blank, new)
            said = difference_of_layers(before, after, self.kept, self.depth, old, moved if new == 0 else ())
            if said is not None:
                raise ModelError(f"layer {old} would come back as another layer: {said}")

    def _layer(self, model: nn.Module, number: int) -> nn.Module:
        return model.get_submodule(f"{self.path}.{number}")

    def _fill(self, blank: nn.Module) -> set[str]:
        """Put copies of the tensors in. Returns the names of the modules that moved to the new first layer."""
        mine = self.model.state_dict(keep_vars=True)
        wanted = blank.state_dict(keep_vars=True)
        tied = ties(wanted)
        origins, moved = self._origins(wanted, mine)
        self._assert_nothing_is_left(mine, set(origins.values()))
        for name, origin in origins.items():
            _put(blank, name, self._fitting(name, mine[origin], wanted[name].shape))
        if ties(blank.state_dict(keep_vars=True)) != tied:
            raise ModelError("other weights would be tied to each other")
        self._fill_buffers(blank, set(wanted))
        return moved

    def _fitting(self, name: str, mine: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """A copy of a tensor, which is to have a shape."""
        if mine.shape != shape:
            raise ModelError(f"{name} would have the shape {tuple(shape)} instead of {tuple(mine.shape)}")
        return self._copy(mine)

    def _origins(self, wanted: dict[str, Any], mine: dict[str, Any]) -> tuple[dict[str, str], set[str]]:
        """Name of each tensor of the new model -> its name in the old one."""
        origins: dict[str, str] = {}
        moved: set[str] = set()
        first = f"{self.path}.0."
        for name in wanted:
            origin = self._old_name(name)
            if origin not in mine:
                module = name.rpartition(".")[0]
                if not name.startswith(first) or module.rpartition(".")[2] not in HANDED_ON or name not in mine:
                    raise ModelError(f"{name} would have to be made up")
                moved.add(module.removeprefix(first))
                origin = name
            origins[name] = origin
        return origins, moved

    def _old_name(self, name: str) -> str:
        if not name.startswith(f"{self.path}."):
            return name
        number, _, rest = name.removeprefix(f"{self.path}.").partition(".")
        return f"{self.path}.{self.kept[int(number)]}.{rest}" if int(number) < len(self.kept) else ""

    def _assert_nothing_is_left(self, mine: dict[str, Any], used: set[str]) -> None:
        dropped = tuple(f"{self.path}.{i}." for i in range(self.depth) if i not in self.kept)
        left = [name for name in mine if name not in used and not name.startswith(dropped)]
        if left:
            raise ModelError(f"{left[0]} would be lost")

    def _fill_buffers(self, blank: nn.Module, saved: set[str]) -> None:
        """Compare what is computed and not saved, then take over its precision and device."""
        mine = dict(self.model.named_buffers(remove_duplicate=False))
        device = next(self.model.parameters()).device
        for name, buffer in list(blank.named_buffers(remove_duplicate=False)):
            if name in saved:
                continue
            old = mine.get(self._old_name(name))
            if old is None:
                _put(blank, name, buffer.to(device))
            elif old.shape != buffer.shape or not _close(old, buffer):
                raise ModelError(f"{name} would be computed differently")
            else:
                _put(blank, name, self._copy(old))

    def _copy(self, tensor: torch.Tensor) -> torch.Tensor:
        """A copy, one for each tensor, so that ties remain."""
        if id(tensor) not in self.copies:
            made: torch.Tensor = tensor.detach().clone()
            if isinstance(tensor, nn.Parameter):
                made = nn.Parameter(made, requires_grad=tensor.requires_grad)
            self.copies[id(tensor)] = made
        return self.copies[id(tensor)]


def _put(model: nn.Module, name: str, tensor: torch.Tensor) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, tensor)


def _close(a: torch.Tensor, b: torch.Tensor) -> bool:
    a, b = a.detach().cpu(), b.detach().cpu()
    if not a.is_floating_point():
        return torch.equal(a, b)
    precision = max(torch.finfo(a.dtype).eps, torch.finfo(b.dtype).eps)
    return torch.allclose(a.double(), b.double(), rtol=16 * precision, atol=precision, equal_nan=True)
