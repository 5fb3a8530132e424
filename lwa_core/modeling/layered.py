"""The layers of a model: find them, observe their boundaries, gate them, skip them, really remove them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from lwa_core.errors import ModelError

DEPTH_NAMES = ("num_hidden_layers", "num_layers", "n_layer", "n_layers")


class LayeredModel:
    """A model whose transformer blocks lie in one `torch.nn.ModuleList`.

    Args:
        model: Any module; to remove layers for good it must be a transformers model (or a peft model around one).
        blocks: Dotted path of the list, for example `"model.layers"`; found by itself where left out.

    Raises:
        ModelError: No list of blocks, or several that could be it.
    """

    def __init__(self, model: nn.Module, blocks: str | None = None) -> None:
        self.model = model
        self.path = blocks or find_blocks(base_of(model))

    @property
    def base(self) -> nn.Module:
        """The model itself, without the adapters that may be around it."""
        return base_of(self.model)

    @property
    def layers(self) -> nn.ModuleList:
        """The blocks, first to last."""
        blocks = self.base.get_submodule(self.path)
        if not isinstance(blocks, nn.ModuleList):
            raise ModelError(f"{self.path!r} is no list of blocks but a {type(blocks).__name__}")
        return blocks

    @property
    def depth(self) -> int:
        return len(self.layers)

    @contextmanager
    def observe(self) -> Iterator[list[torch.Tensor]]:
        """Collect the raw states at the block boundaries of the next forward pass.

        The list that is yielded holds, after the pass, depth + 1 tensors (batch, time, width): the input of the first
        block, then every block's output. Taken by hooks: the last of transformers' own `output_hidden_states` has
        already been through the final norm.
        """
        states: list[torch.Tensor] = []

        def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            states[:] = [block_input(args, kwargs)]

        def after(_: nn.Module, __: Any, output: Any) -> None:
            states.append(block_output(output))

        with ExitStack() as hooks:
            hooks.callback(self.layers[0].register_forward_pre_hook(before, with_kwargs=True).remove)
            for layer in self.layers:
                hooks.callback(layer.register_forward_hook(after).remove)
            yield states

    @contextmanager
    def gated(self, gates: torch.Tensor) -> Iterator[None]:
        """Put a gate on every block: h + g * (block(h) - h), so that 1 is the block and 0 the identity.

        Args:
            gates: One gate a layer (layers,) or one a layer and example (layers, batch). May require gradients.
        """

        def hook(gate: torch.Tensor) -> Any:
            def after(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
                before = block_input(args, kwargs)
                shaped = gate.to(before.dtype).reshape(-1, *[1] * (before.dim() - 1)) if gate.dim() else gate
                return with_output(output, before + shaped * (block_output(output) - before))

            return after

        if len(gates) != self.depth:
            raise ModelError(f"{len(gates)} gates for {self.depth} layers")
        with ExitStack() as hooks:
            for layer, gate in zip(self.layers, gates, strict=True):
                hooks.callback(layer.register_forward_hook(hook(gate), with_kwargs=True).remove)
            yield

    @contextmanager
    def skipping(self, kept: Sequence[int]) -> Iterator[None]:
        """Leave the layers that are not in `kept` out of every forward pass, without computing them."""
        with self.replaced({i: _Skip(layer) for i, layer in enumerate(self.layers) if i not in set(kept)}):
            yield

    @contextmanager
    def replaced(self, stand_ins: dict[int, nn.Module]) -> Iterator[None]:
        """Put other modules in the place of some layers for a while."""
        layers = self.layers
        originals = {i: layers[i] for i in stand_ins}
        try:
            for i, module in stand_ins.items():
                layers[i] = module
            yield
        finally:
            for i, module in originals.items():
                layers[i] = module

    def keep(self, kept: Sequence[int]) -> LayeredModel:
        """A copy of the model that has just these layers, in their order.

        Its `save_pretrained` folder loads with plain `from_pretrained`: depth, per-layer lists of the configuration
        and the layers' own numbers follow.

        Raises:
            ModelError: The layers are not distinct layers of this model, or the configuration of this family cannot
                say how many layers it has, so that a reload would come back with other layers.
        """
        kept = list(kept)
        if not kept or kept != sorted(set(kept)) or not all(0 <= i < self.depth for i in kept):
            raise ModelError(f"cannot keep layers {kept} of a model with layers 0..{self.depth - 1}")
        depth = self.depth
        student = LayeredModel(copy.deepcopy(self.base), self.path)
        layers = student.layers
        chosen = [layers[i] for i in kept]
        for new, layer in enumerate(chosen):
            for module in layer.modules():
                if isinstance(getattr(module, "layer_idx", None), int):
                    module.layer_idx = new  # type: ignore[assignment]
        parent, _, name = self.path.rpartition(".")
        setattr(student.base.get_submodule(parent), name, nn.ModuleList(chosen))
        cut_config(student.base, kept, depth)
        _assert_reloads(student.base)
        return student


class _Skip(nn.Module):
    """Stands in for a layer that is left out: gives back its input, in the form of the layer's output."""

    def __init__(self, layer: nn.Module, state: torch.Tensor | None = None, tupled: bool = False) -> None:
        super().__init__()
        self.__dict__["_layer"] = layer  # not a submodule: it must not be seen by hooks or state_dict
        self.__dict__["_state"] = state
        self.__dict__["_tupled"] = tupled

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        state = self._state if self._state is not None else block_input(args, kwargs)
        return (state,) if self._tupled else state

    def __getattr__(self, name: str) -> Any:
        # Models look at attributes of their blocks, such as `attention_type`.
        return getattr(self.__dict__["_layer"], name)


def stand_in(layer: nn.Module, state: torch.Tensor, tupled: bool) -> nn.Module:
    """A module that gives out `state` in place of what `layer` would compute."""
    return _Skip(layer, state, tupled)


def base_of(model: nn.Module) -> nn.Module:
    """The transformers model inside a peft model, else the model itself."""
    inner = getattr(model, "get_base_model", None)
    return inner() if callable(inner) else model


def find_blocks(model: nn.Module) -> str:
    """Path of the one list of equal blocks, by the depth that the configuration states where there are several.

    Raises:
        ModelError: None, or several; the message lists them for the `blocks` argument.
    """
    found: dict[str, nn.ModuleList] = {}
    for path, module in model.named_modules():
        inside = any(path.startswith(f"{outer}.") for outer in found)
        if isinstance(module, nn.ModuleList) and len(module) and not inside and len({type(m) for m in module}) == 1:
            found[path] = module
    if not found:
        raise ModelError("the model has no torch.nn.ModuleList of equal blocks", "name the list with `blocks`")
    depth = stated_depth(model)
    fitting = [path for path, blocks in found.items() if len(blocks) == depth] if len(found) > 1 else list(found)
    if len(fitting) != 1:
        listed = ", ".join(f"{path} ({len(blocks)})" for path, blocks in found.items())
        raise ModelError(f"several lists could be the layers: {listed}", "name the list with `blocks`")
    return fitting[0]


def stated_depth(model: nn.Module) -> int | None:
    """How many layers the configuration says there are."""
    config = getattr(model, "config", None)
    values = [getattr(config, name, None) for name in DEPTH_NAMES]
    return next((value for value in values if isinstance(value, int)), None)


def cut_config(model: nn.Module, kept: Sequence[int], depth: int) -> None:
    """Bring a configuration in line with the kept layers: the depth, and every list that has one entry a layer."""
    config: Any = getattr(model, "config", None)
    if config is None or stated_depth(model) is None:
        raise ModelError(f"{type(model).__name__} has no configuration that states its depth, so it cannot be reloaded")
    for name, value in list(vars(config).items()):
        if isinstance(value, (list, tuple)) and len(value) == depth and not name.startswith("_"):
            setattr(config, name, type(value)(value[i] for i in kept))
    for name in DEPTH_NAMES:
        if getattr(config, name, None) == depth:
            setattr(config, name, len(kept))


def _assert_reloads(model: nn.Module) -> None:
    """A fresh model of the cut configuration must have exactly the cut model's tensors."""
    with torch.device("meta"):
        fresh = type(model)(copy.deepcopy(model.config))
    mine = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    theirs = {name: tuple(value.shape) for name, value in fresh.state_dict().items()}
    if mine != theirs:
        odd = sorted(set(mine.items()) ^ set(theirs.items()))[:3]
        raise ModelError(
            f"layers of {type(model).__name__} cannot be removed so that it reloads: {odd} would not match",
            "this family is not supported",
        )


def block_input(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    """The hidden states that a block was called with."""
    value = args[0] if args else kwargs.get("hidden_states")
    if not isinstance(value, torch.Tensor):
        raise ModelError("a block was called without hidden states as its first argument")
    return value


def block_output(output: Any) -> torch.Tensor:
    """The hidden states that a block gave back (many families give a tuple)."""
    value = output[0] if isinstance(output, tuple) else output
    if not isinstance(value, torch.Tensor):
        raise ModelError(f"a block gave back {type(value).__name__} instead of hidden states")
    return value


def with_output(output: Any, states: torch.Tensor) -> Any:
    """`output` with other hidden states in it."""
    return (states, *output[1:]) if isinstance(output, tuple) else states
