"""Make the layers of a model narrower: heads and feed-forward units taken out, as many in every layer.

A model of one width is what a configuration can say, so that the result is a plain checkpoint. As in
`lwa_core.modeling.layers.surgery` nothing is trusted: the narrow model must answer as the wide one does whose removed
units give nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers.pytorch_utils import Conv1D

from lwa_core.errors import ModelError
from lwa_core.modeling.layers.cut_config import section_of, with_section
from lwa_core.modeling.layers.dummy_inputs import dummy_inputs
from lwa_core.modeling.layers.equivalence import difference_of_answers
from lwa_core.modeling.layers.layered import LayeredModel
from lwa_core.modeling.layers.planted import LAST_OF_A_BRANCH
from lwa_core.modeling.layers.state_maps import has_maps
from lwa_core.modeling.layers.surgery import Transplant, blank_model, sections

INNER_SIZES = ("intermediate_size", "n_inner", "ffn_dim", "d_ff", "encoder_ffn_dim", "ffn_hidden_size", "hidden_dim")
"""Keys of a configuration that may say how many units a feed-forward has; None there is four times the width."""
KINDS = ("feed-forward", "heads")


@attrs.frozen(eq=False)
class Units:
    """What of one layer can be taken out, one by one.

    Args:
        projection: The linear map that takes what the units give, from `count` × `size` numbers to a state.
        path: Where it is in its layer.
        count: How many units there are: of the feed-forward; or heads, those together that share keys and values.
        size: Inputs of the projection for each of them, side by side.
    """

    projection: nn.Linear | Conv1D
    path: str
    count: int
    size: int

    def columns(self, units: Sequence[int] | NDArray[np.int64]) -> torch.Tensor:
        """Inputs of the projection that belong to some of the units."""
        first = torch.as_tensor(np.asarray(units, dtype=np.int64)) * self.size
        return (first[:, None] + torch.arange(self.size)).flatten()

    @property
    def weight(self) -> torch.Tensor:
        """Of the projection (outputs, inputs); writing into it writes into the model."""
        own = self.projection.weight
        return own if isinstance(self.projection, nn.Linear) else own.T


def units_of(model: LayeredModel, kind: str) -> list[Units | None]:
    """The units of every layer; None for one that has none (a part of a layer, say).

    Args:
        model: The model, its weights neither quantised nor with adapters.
        kind: One of `KINDS`.

    Raises:
        ModelError: The configuration does not say how many there are, or no layer has such a projection.
    """
    values = _section(model)[1]
    count, size = _inner(values, model) if kind == "feed-forward" else _heads(values, model)
    width = _width(values, model)
    found: list[Units | None] = []
    for layer in model.layers:
        fitting = [
            (path, module)
            for path, module in layer.named_modules()
            if type(module) in (nn.Linear, Conv1D)
            and _shape(module) == (width, count * size)
            and _of_attention(path) is (kind == "heads")
        ]
        if len(fitting) > 1:  # queries, keys and values are square, too
            fitting = [(path, module) for path, module in fitting if path.rpartition(".")[2] in LAST_OF_A_BRANCH]
        found.append(Units(fitting[0][1], fitting[0][0], count, size) if len(fitting) == 1 else None)
    if not any(found):
        said = f"no layer of {type(model.base).__name__} has a projection from {count * size} to {width} numbers"
        raise ModelError(f"{said} that takes its {'units' if kind == 'feed-forward' else 'heads'}", NARROWABLE)
    return found


NARROWABLE = "`width` is for models whose configuration says the size of their feed-forward, and of their heads"


def narrow(model: LayeredModel, kept: Mapping[str, Sequence[Sequence[int]]]) -> LayeredModel:
    """A copy of the model with just these units, which answers as this one if the other units give nothing.

    Args:
        model: The model; the weights of its projections for the units that go must be 0.
        kept: By kind (`KINDS`) the units of each layer that stay, as many in each that has any.

    Raises:
        ModelError: No configuration of this family says what the narrow model is, or it answers otherwise.
    """
    if getattr(model.base, "hf_quantizer", None) is not None or model.model is not model.base or has_maps(model.base):
        raise ModelError("a quantised, adapted or patched model cannot be made narrower", "give `width` first")
    path, values = _section(model)
    changed = dict(values)
    chosen: list[tuple[Units, Sequence[int], int]] = []
    for kind, layers in kept.items():
        own = [
            (units, stay, place)
            for place, (units, stay) in enumerate(zip(units_of(model, kind), layers, strict=True))
            if units
        ]
        counts = sorted({len(stay) for _, stay, _ in own})
        if len(counts) != 1 or not counts[0]:
            raise ModelError(f"every layer must keep as many units, and at least one: {counts}")
        chosen += own
        changed |= _said(values, model, kind, counts[0])
    config: Any = model.base.config
    blank = blank_model(model.base, with_section(config.to_dict(), path, changed))
    student = _Narrowing(model, chosen).into(blank)
    _assert_same_answers(model, student)
    return LayeredModel(student, model.path)


class _Narrowing(Transplant):
    """Gives a blank model the tensors of all layers, without what belongs to the units that go."""

    def __init__(self, model: LayeredModel, chosen: Sequence[tuple[Units, Sequence[int], int]]) -> None:
        super().__init__(model.base, model.path, range(model.depth), model.depth)
        self.chosen = {
            (place, _of_attention(units.path)): (units, np.asarray(stay, dtype=np.int64))
            for units, stay, place in chosen
        }

    def _compare(self, blank: nn.Module, moved: set[str]) -> None:
        """Its layers are others by their sizes: the answers are compared."""

    def _fitting(self, name: str, mine: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        if mine.shape == shape:
            return self._copy(mine)
        inside = name.removeprefix(f"{self.path}.")
        number, _, rest = inside.partition(".")
        found = self.chosen.get((int(number), _of_attention(rest))) if inside != name else None
        axes = [axis for axis, (old, new) in enumerate(zip(mine.shape, shape, strict=True)) if old != new]
        if found is None or len(axes) != 1:
            return super()._fitting(name, mine, shape)
        (axis,), (units, stay) = axes, found
        side_by_side, odd = divmod(mine.shape[axis], units.count)
        if odd or side_by_side * len(stay) != shape[axis]:
            return super()._fitting(name, mine, shape)
        rows = (stay[:, None] * side_by_side + np.arange(side_by_side)).ravel()
        taken = mine.detach().index_select(axis, torch.from_numpy(rows).to(mine.device)).clone()
        return nn.Parameter(taken, requires_grad=mine.requires_grad) if isinstance(mine, nn.Parameter) else taken


def _assert_same_answers(model: LayeredModel, student: nn.Module) -> None:
    name = type(model.base).__name__
    try:
        said = difference_of_answers(model.base, nullcontext(), student, dummy_inputs(model.base))
    except ModelError as error:
        if not type(model.base).__module__.startswith("transformers."):
            return  # a recommender of one's own takes what it likes
        raise ModelError(f"whether a narrower {name} answers the same cannot be seen: {error.message}") from error
    if said is not None:
        raise ModelError(f"a narrower {name} would answer differently: {said}", NARROWABLE)


def _of_attention(path: str) -> bool:
    """Whether something in a layer is inside its attention."""
    return "att" in path.rpartition(".")[0].lower()


def _section(model: LayeredModel) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Where in the configuration the layers' sizes are, and what is there."""
    config: Any = getattr(model.base, "config", None)
    if not hasattr(config, "to_dict"):
        raise ModelError(f"{type(model.base).__name__} has no configuration that says its sizes", NARROWABLE)
    whole = config.to_dict()
    for path in sections(model.base, model.path):
        values = section_of(whole, path)
        if any(name in values for name in INNER_SIZES):
            return path, values
    raise ModelError(f"the configuration of {type(model.base).__name__} says no size of a feed-forward", NARROWABLE)


def _inner(values: Mapping[str, Any], model: LayeredModel) -> tuple[int, int]:
    name = next(name for name in INNER_SIZES if name in values)
    size = 4 * _width(values, model) if values[name] is None else values[name]
    if type(size) is not int:
        raise ModelError(f"the feed-forwards of {type(model.base).__name__} are not all of one size", NARROWABLE)
    return size, 1


def _heads(values: Mapping[str, Any], model: LayeredModel) -> tuple[int, int]:
    """How many heads there are, those together that share keys and values, and numbers of each."""
    heads = values.get("num_attention_heads")
    if type(heads) is not int or "head_dim" not in values:
        said = f"the configuration of {type(model.base).__name__} says no size of a head: fewer of them cannot be said"
        raise ModelError(said, "set heads = 1")
    size = values["head_dim"] or _width(values, model) // heads
    groups = values.get("num_key_value_heads") or heads
    return groups, heads // groups * size


def _said(values: Mapping[str, Any], model: LayeredModel, kind: str, count: int) -> dict[str, Any]:
    """What the configuration says of so many units."""
    if kind == "feed-forward":
        return {next(name for name in INNER_SIZES if name in values): count}
    groups, size = _heads(values, model)
    shared = values["num_attention_heads"] // groups
    said = {"num_attention_heads": count * shared, "head_dim": size // shared}
    return said | ({"num_key_value_heads": count} if values.get("num_key_value_heads") else {})


def _width(values: Mapping[str, Any], model: LayeredModel) -> int:
    names = ("hidden_size", "n_embd", "d_model", "dim")
    width = next((values[name] for name in names if type(values.get(name)) is int), None)
    if width is None:
        raise ModelError(f"the configuration of {type(model.base).__name__} says no width", NARROWABLE)
    return int(width)


def _shape(module: nn.Module) -> tuple[int, int]:
    """Outputs and inputs of a linear map."""
    weight: Any = module.weight if isinstance(module, nn.Linear) else module.weight.T
    return tuple(weight.shape)
