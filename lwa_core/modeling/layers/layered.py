"""The layers of a model: find them, observe their boundaries, gate them, skip them, really remove them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from lwa_core.errors import ModelError
from lwa_core.modeling.layers.blocks import assert_same_shape, block_input, block_output, with_output
from lwa_core.modeling.layers.cut_config import PLAIN_DEPTHS
from lwa_core.modeling.layers.dummy_inputs import dummy_inputs
from lwa_core.modeling.layers.equivalence import difference_of_answers
from lwa_core.modeling.layers.surgery import cut_model

__all__ = ["LayeredModel", "base_of", "block_input", "block_output", "find_blocks", "with_output"]


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
        try:
            blocks = self.base.get_submodule(self.path)
        except AttributeError as error:
            raise ModelError(f"the model has no list of blocks at {self.path!r}: {error}") from error
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
                assert_same_shape(before, block_output(output))
                if gate.dim() and len(gate) != len(before):
                    raise ModelError(f"gates for {len(gate)} examples, but a block takes states {tuple(before.shape)}")
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
        """Leave the layers that are not in `kept` out of every forward pass: their states go out as they came in.

        Each still runs, and what it makes besides is there for the layers behind it: a position bias (T5), keys and
        values that others share (Gemma 3n), whatever it writes and wherever. So this is a gate of 0 to the last bit,
        for every family, and what the other ways of leaving layers out are compared with.
        """

        def passes_by(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
            before = block_input(args, kwargs)
            assert_same_shape(before, block_output(output))
            return with_output(output, before)

        with ExitStack() as hooks:
            for index, layer in enumerate(self.layers):
                if index not in set(kept):
                    hooks.callback(layer.register_forward_hook(passes_by, with_kwargs=True).remove)
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

    def keep(self, kept: Sequence[int], inputs: Mapping[str, Any] | None = None) -> LayeredModel:
        """A copy of the model that has just these layers, in their order.

        Its `save_pretrained` folder loads with plain `from_pretrained`: depth, everything that the configuration says
        of single layers, and the layers' own numbers follow. What only the first layer has and hands on moves to the
        layer that is first then (T5's relative position bias).

        Args:
            kept: The layers, in order.
            inputs: What to call the model with to see that it answers as the full one that skips the other layers;
                made up from the configuration where left out.

        Raises:
            ModelError: The layers are not distinct layers of this model, or no configuration of this family says what
                they are, so that a reload would come back as another model.
        """
        kept = list(kept)
        if not kept or kept != sorted(set(kept)) or not all(0 <= i < self.depth for i in kept):
            raise ModelError(f"cannot keep layers {kept} of a model with layers 0..{self.depth - 1}")
        student = cut_model(self.base, self.path, kept)
        self._assert_same_answers(student, kept, inputs)
        return LayeredModel(student, self.path)

    def _assert_same_answers(self, student: nn.Module, kept: Sequence[int], inputs: Mapping[str, Any] | None) -> None:
        try:
            called = dummy_inputs(self.base) if inputs is None else inputs
            said = difference_of_answers(self.base, self.skipping(kept), student, called)
        except ModelError as error:
            if inputs is None and not type(self.base).__module__.startswith("transformers."):
                return  # a recommender of one's own takes what it likes; its layers were compared
            raise ModelError(
                f"whether {type(self.base).__name__} answers the same with layers {list(kept)} cannot be seen: "
                f"{error.message}",
                "give `keep` the `inputs` that the model is called with",
            ) from error
        if said is not None:
            raise ModelError(
                f"{type(self.base).__name__} with layers {list(kept)} would answer differently: {said}",
                "docs/families.md says what can be removed from which family",
            )


def base_of(model: nn.Module) -> nn.Module:
    """The transformers model inside a peft model, else the model itself."""
    inner = getattr(model, "get_base_model", None)
    return inner() if callable(inner) else model


def find_blocks(model: nn.Module) -> str:
    """Path of the one list of blocks, by the depth that the configuration states where there are several.

    Blocks are of one class; where there are as many as the configuration states, they may be of several.

    Raises:
        ModelError: None, or several, the message lists them for the `blocks` argument; or fewer blocks than layers.
    """
    depth = stated_depth(model)
    found: dict[str, nn.ModuleList] = {}
    for path, module in model.named_modules():
        inside = any(path.startswith(f"{outer}.") for outer in found)
        if not isinstance(module, nn.ModuleList) or not len(module) or inside:
            continue
        if len(module) == depth or len({type(m) for m in module}) == 1:
            found[path] = module
    if not found:
        raise ModelError("the model has no torch.nn.ModuleList of equal blocks", "name the list with `blocks`")
    fitting = [path for path, blocks in found.items() if len(blocks) == depth] if len(found) > 1 else list(found)
    if len(fitting) != 1:
        listed = ", ".join(f"{path} ({len(blocks)})" for path, blocks in found.items())
        raise ModelError(f"several lists could be the layers: {listed}", "name the list with `blocks`")
    if depth is not None and len(found[fitting[0]]) != depth:
        raise ModelError(
            f"the configuration states {depth} layers, but {fitting[0]} holds {len(found[fitting[0]])} blocks: "
            "layers that share their weights cannot be told apart",
            "name another list with `blocks`",
        )
    return fitting[0]


def stated_depth(model: nn.Module) -> int | None:
    """How many layers the configuration says there are."""
    config = getattr(model, "config", None)
    values = [getattr(config, name, None) for name in PLAIN_DEPTHS]
    return next((value for value in values if isinstance(value, int)), None)
