"""A model as it was lent, and what of it is different afterwards.

Versions of tensors do not tell of writes through `.data` or numpy, so contents are compared: small tensors by a copy,
large ones by checksums, in two reads of the memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import attrs
import torch
from torch import nn

COPIED = 2**16
"""Bytes up to which a tensor is copied; of a larger one only a checksum is kept."""

WIDTH = 512
"""Words in a row of a checksum."""

HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)

PLAIN = (bool, int, float, str)
"""Types of attributes that are compared (`eps`, `p`, `is_causal`); others are a module's own business."""


class ModelWatch:
    """Remembers a model: its modules, their modes and hooks, every weight and buffer.

    Args:
        model: The model.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.modules = {path: _Facts.of(module) for path, module in model.named_modules(remove_duplicate=False)}
        self.tensors = [_Held.of(*found) for found in _tensors(model)]
        self.config = _plain(vars(getattr(model, "config", None) or _Nothing()))
        self.contents = Contents([held.tensor for held in self.tensors])

    def changes(self) -> list[str]:
        """What is different now, in words that say where; empty where nothing is."""
        found, replaced = self._changed_modules()
        found += [what for held, what in self._changed_tensors() if not _below(held, replaced)]
        config = _plain(vars(getattr(self.model, "config", None) or _Nothing()))
        found += [f"`config.{name}`" for name in _differing(self.config, config)]
        written = self.contents.changed()
        return found + [
            f"the values of {held}" for place in written if not _below((held := self.tensors[place]).name, replaced)
        ]

    def _changed_modules(self) -> tuple[list[str], list[str]]:
        """What changed, and the paths of modules that are others now: of what lies below those nothing is said."""
        now = dict(self.model.named_modules(remove_duplicate=False))
        found: list[str] = []
        replaced: list[str] = []
        for path, before in self.modules.items():
            if _below(path, replaced):
                continue
            if now.get(path) is not before.module:
                replaced.append(path)
                found.append(f"the module `{path}`, which is {'another one' if path in now else 'gone'}")
            else:
                found += [f"{what} of {f'`{path}`' if path else 'the whole'}" for what in before.against(now[path])]
        added = [path for path in now if path not in self.modules and not _below(path, replaced)]
        return [*found, *(f"the module `{path}`, which is new" for path in added)], [*replaced, *added]

    def _changed_tensors(self) -> Iterator[tuple[str, str]]:
        now = {name: (kind, tensor) for name, kind, tensor in _tensors(self.model)}
        for held in self.tensors:
            tensor = now.get(held.name, (held.kind, None))[1]
            if tensor is None:
                yield held.name, f"{held}, which is gone"
            else:
                yield from ((held.name, what) for what in held.against(tensor))
        known = {held.name for held in self.tensors}
        yield from ((name, f"the {now[name][0]} `{name}`, which is new") for name in now if name not in known)


def _below(path: str, others: Iterable[str]) -> bool:
    return any(path.startswith(f"{other}.") for other in others)


class _Nothing:
    """Stands for the configuration of a model that has none."""


@attrs.frozen(eq=False)
class _Facts:
    """What is remembered of one module."""

    module: nn.Module
    training: bool
    hooks: dict[str, tuple[int, ...]]
    forward: Any
    plain: dict[str, Any]

    @classmethod
    def of(cls, module: nn.Module) -> _Facts:
        own = module.__dict__
        return cls(module, own["training"], _hooks(own), own.get("forward"), _plain(own))

    def against(self, module: nn.Module) -> Iterator[str]:
        own = module.__dict__
        if own["training"] != self.training:
            yield f"the mode ({'train' if own['training'] else 'eval'})"
        if _hooks(own) != self.hooks:
            yield "the hooks"
        if own.get("forward") is not self.forward:
            yield "`forward`"
        yield from (f"`{name}`" for name in _differing(self.plain, _plain(own)) if name != "training")


def _hooks(own: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(map(id, own[name].values())) for name in HOOKS if own.get(name)}


def _plain(own: dict[str, Any]) -> dict[str, Any]:
    """Attributes of plain types, without what a module keeps to itself or for the next call."""
    return {
        name: value for name, value in own.items() if type(value) in PLAIN and name[0] != "_" and "cache" not in name
    }


def _differing(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    if before == now:
        return []
    return [name for name in before.keys() | now.keys() if before.get(name, now) != now.get(name, before)]


def _tensors(model: nn.Module) -> Iterator[tuple[str, str, torch.Tensor]]:
    """Weights, buffers, and tensors that are plain attributes: (name, kind, tensor)."""
    for path, module in model.named_modules():
        before = f"{path}." if path else ""
        own = module.__dict__
        for kind, held in (("weight", own["_parameters"]), ("buffer", own["_buffers"]), ("tensor", own)):
            for name, value in held.items():
                if isinstance(value, torch.Tensor):
                    yield before + name, kind, value


@attrs.frozen(eq=False)
class _Held:
    """What is remembered of one tensor besides its contents."""

    name: str
    kind: str
    tensor: torch.Tensor
    facts: tuple[Any, ...]
    grad: torch.Tensor | None
    grad_version: int
    hooks: int

    @classmethod
    def of(cls, name: str, kind: str, tensor: torch.Tensor) -> _Held:
        grad = tensor.grad if tensor.is_leaf else None
        return cls(name, kind, tensor, _facts(tensor), grad, version(grad), _tensor_hooks(tensor))

    def __str__(self) -> str:
        return f"the {self.kind} `{self.name}`"

    def against(self, tensor: torch.Tensor) -> Iterator[str]:
        if tensor is not self.tensor:
            yield f"{self}, which is another one"
            return
        if _facts(tensor) != self.facts:
            now = zip(("dtype", "shape", "device", "requires_grad"), self.facts, _facts(tensor), strict=True)
            yield from (f"{what} of {self}" for what, before, after in now if before != after)
        grad = tensor.grad if tensor.is_leaf else None
        if grad is not self.grad or version(grad) != self.grad_version:
            yield f"the gradient of {self}"
        if _tensor_hooks(tensor) != self.hooks:
            yield f"the hooks of {self}"


def _facts(tensor: torch.Tensor) -> tuple[Any, ...]:
    return tensor.dtype, tensor.shape, tensor.device, tensor.requires_grad


def _tensor_hooks(tensor: torch.Tensor) -> int:
    return len(tensor._backward_hooks or ()) + len(getattr(tensor, "_post_accumulate_grad_hooks", None) or ())


def version(tensor: torch.Tensor | None) -> int:
    """How often a tensor was written to, as far as torch counts; 0 where it does not."""
    return 0 if tensor is None or tensor.is_inference() else tensor._version


class Contents:
    """The contents of some tensors, as they were.

    Args:
        tensors: On any device, of any type; one whose memory cannot be read (on `meta`, of a class of its own) is
            compared by its version.
    """

    def __init__(self, tensors: Iterable[torch.Tensor]) -> None:
        self.tensors = list(tensors)
        self.pointers = [_pointer(tensor) for tensor in self.tensors]
        self.versions = [version(tensor) for tensor in self.tensors]
        self.bytes = [_bytes(tensor) for tensor in self.tensors]
        self.small, self.large = self._groups()
        self.copies = {device: _joined(self.bytes, places) for device, places in self.small.items()}
        self.sums = {device: _checksums(self.bytes, places) for device, places in self.large.items()}

    def _groups(self) -> tuple[dict[torch.device, list[int]], dict[torch.device, list[int]]]:
        small: dict[torch.device, list[int]] = {}
        large: dict[torch.device, list[int]] = {}
        for place, held in enumerate(self.bytes):
            if held is not None and len(held):
                group = small if len(held) <= COPIED else large
                group.setdefault(held.device, []).append(place)
        return small, large

    def changed(self) -> list[int]:
        """Which of the tensors hold something else now."""
        now = self._now()
        found = [place for place, held in enumerate(self.bytes) if held is None and self._counted(place)]
        resized = [place for place, held in enumerate(now) if held is not None and _resized(held, self.bytes[place])]
        if resized:
            return sorted({*found, *resized})
        for device, places in self.small.items():
            if not torch.equal(_joined(now, places), self.copies[device]):
                found += self._differing(now, device, places)
        for device, places in self.large.items():
            same = (_checksums(now, places) == self.sums[device]).all(dim=1).tolist()
            found += [place for place, equal in zip(places, same, strict=True) if not equal]
        return sorted(found)

    def _now(self) -> list[torch.Tensor | None]:
        """Views of the memory that the tensors have now; it is mostly the same."""
        return [
            held if held is None or (pointer == _pointer(tensor) and tensor.is_contiguous()) else _bytes(tensor)
            for tensor, pointer, held in zip(self.tensors, self.pointers, self.bytes, strict=True)
        ]

    def _counted(self, place: int) -> bool:
        return version(self.tensors[place]) != self.versions[place]

    def _differing(self, now: list[torch.Tensor | None], device: torch.device, places: list[int]) -> list[int]:
        sizes = [len(held) for held in (now[place] for place in places) if held is not None]
        pairs = zip(_joined(now, places).split(sizes), self.copies[device].split(sizes), strict=True)
        return [place for place, (a, b) in zip(places, pairs, strict=True) if not torch.equal(a, b)]


def _pointer(tensor: torch.Tensor) -> int:
    try:
        return tensor.data_ptr()
    except RuntimeError:  # a class of its own has no memory of its own
        return 0


def _bytes(tensor: torch.Tensor) -> torch.Tensor | None:
    """The memory of a tensor (bytes,), a view of it where it lies in one piece; None where it cannot be read."""
    if tensor.device.type == "meta" or tensor.layout != torch.strided:
        return None
    try:
        return tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    except (RuntimeError, NotImplementedError, TypeError):
        return None


def _resized(now: torch.Tensor, before: torch.Tensor | None) -> bool:
    return before is None or len(now) != len(before) or now.device != before.device


def _joined(held: list[torch.Tensor | None], places: list[int]) -> torch.Tensor:
    """Copies of these, one after the other (bytes,)."""
    return torch.cat([part for part in (held[place] for place in places) if part is not None])


def _checksums(held: list[torch.Tensor | None], places: list[int]) -> torch.Tensor:
    """Checksums of each (tensors, 3), int64."""
    return torch.stack([_checksum(part) for part in (held[place] for place in places) if part is not None])


def _checksum(memory: torch.Tensor) -> torch.Tensor:
    """Sums of the words by column and by row, each weighted by its place, and the rest (3,), modulo 2^64.

    One changed word always changes both; words that changed places change one of them.
    """
    whole = len(memory) // (8 * WIDTH) * 8 * WIDTH
    rest = memory[whole:].to(torch.int64)
    try:
        rows = memory[:whole].view(torch.int64).view(-1, WIDTH)
    except RuntimeError:  # memory that does not begin at a word
        rows = memory[:whole].clone().view(torch.int64).view(-1, WIDTH)
    return torch.stack([_weighted(rows.sum(dim=0)), _weighted(rows.sum(dim=1)), _weighted(rest)])


def _weighted(values: torch.Tensor) -> torch.Tensor:
    return (values * torch.arange(1, len(values) + 1, device=values.device)).sum()
