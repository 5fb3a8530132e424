"""Whether two models are the same: the settings of their layers, which weights are one, the answers they give."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import nn

from lwa_core.errors import ModelError

NUMBER = re.compile(r"(^|_)(idx|id|index|number)$")
"""Attributes of a module that may hold the number of a layer."""
FIRST = ("has_relative_attention_bias", "has_relative_position_bias")
"""Attributes that say that a layer makes what it hands on."""
IGNORED = ("training", "gradient_checkpointing", "drop_prob")
"""Attributes that say nothing of what a layer computes; the rate of stochastic depth (training only) grows with it."""


def ties(tensors: Mapping[str, torch.Tensor]) -> set[frozenset[str]]:
    """The groups of names that stand for one tensor."""
    groups: dict[int, set[str]] = {}
    for name, tensor in tensors.items():
        groups.setdefault(id(tensor), set()).add(name)
    return {frozenset(names) for names in groups.values() if len(names) > 1}


def difference_of_layers(
    before: nn.Module, after: nn.Module, kept: Sequence[int], depth: int, old: int, moved: Collection[str] = ()
) -> str | None:
    """What two layers differ in, in words; None: in nothing but their numbers.

    Args:
        before: Layer `old` of the full model.
        after: The layer that takes its place.
        kept: The layers that stay; a number of a layer is to become its place among them.
        depth: How many layers the full model has.
        old: The layer's number in the full model.
        moved: Modules inside the layer that moved there from the first layer.
    """
    had, has = dict(before.named_modules()), dict(after.named_modules())
    new = [name for name in has if name not in had and name not in moved]
    for name in [*(name for name in had if name not in has), *new]:
        return f"{name or 'it'} is in only one of them"
    for name, module in had.items():
        if type(module) is not type(has[name]):
            return f"{name or 'it'} is a {type(module).__name__} and would be a {type(has[name]).__name__}"
        was, would_be = _settings(module), _settings(has[name])
        for key in sorted({*was, *would_be}):
            a, b = was.get(key), would_be.get(key)
            if a == b or (moved and key in FIRST) or _renumbered(key, a, b, kept, depth, old):
                continue
            return f"{name}.{key} is {a!r} and would be {b!r}".lstrip(".")
    return None


def _settings(module: nn.Module) -> dict[str, Any]:
    return {
        name: list(value) if isinstance(value, tuple) else value  # a file knows no tuples
        for name, value in vars(module).items()
        if not name.startswith("_") and name not in IGNORED and _is_plain(value)
    }


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


def _renumbered(key: str, was: Any, would_be: Any, kept: Sequence[int], depth: int, old: int) -> bool:
    if isinstance(was, list):
        if len(was) == depth and would_be == [was[i] for i in kept]:
            return True
        return "layer" in key and would_be == [kept.index(i) for i in was if i in kept]
    if type(was) is not int or type(would_be) is not int:
        return False
    if NUMBER.search(key) and was in kept and (was == old or "layer" in key):
        return kept.index(was) == would_be
    return "layers" in key and (was, would_be) == (depth, len(kept))


def difference_of_answers(
    model: nn.Module, skipping: AbstractContextManager[None], student: nn.Module, inputs: Mapping[str, Any]
) -> str | None:
    """What a model with fewer layers answers differently from the full model that skips the others, in words.

    Args:
        model: The full model.
        skipping: Inside it the full model skips the others.
        student: The model that has fewer layers.
        inputs: What both are called with.

    Raises:
        ModelError: The full model cannot be called with these inputs.
    """
    with _answering(model), _answering(student):
        try:
            with skipping:
                expected = _tensors(model(**inputs))
        except Exception as error:  # what a model does with inputs it was not made for
            raise ModelError(f"the model cannot be called with {', '.join(inputs)}: {error}") from error
        try:
            given = _tensors(student(**inputs))
        except Exception as error:
            return f"it could not be called ({' '.join(str(error).split())})"
    for name, value in expected.items():
        if name not in given or given[name].shape != value.shape:
            return f"its {name} would have another shape"
        precision = torch.finfo(value.dtype).eps ** 0.75  # 6e-6 in float32, 2e-2 in bfloat16
        off = float((given[name].double() - value.double()).abs().max()) if value.numel() else 0.0
        if not off <= precision * (1 + float(value.double().abs().max())):
            return f"its {name} would be off by {off:.3g}"
    return None


@contextmanager
def _answering(model: nn.Module) -> Iterator[None]:
    """Eval mode, no gradients, and the same random numbers for everybody, for a while."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(0)
            yield
    finally:
        for module in training:
            module.training = True


def _tensors(output: Any) -> dict[str, torch.Tensor]:
    """The answers in a model's output: of its last states and logits, whichever it has; else of all."""
    entries = dict(output.items()) if hasattr(output, "items") else {str(i): v for i, v in enumerate(_tuple(output))}
    floats = {name: v for name, v in entries.items() if isinstance(v, torch.Tensor) and v.is_floating_point()}
    return {name: v for name, v in floats.items() if name in ("logits", "last_hidden_state")} or floats


def _tuple(output: Any) -> tuple[Any, ...]:
    return output if isinstance(output, tuple) else (output,)
