"""`onnx`: a network as a graph of ONNX, in float32 or with quantised products."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from lwa_core import ModelError, NeedsError, setting

if TYPE_CHECKING:
    import torch

    from lwa_core import ExportedParts, Reporter

BLOCK = 32
"""Weights that share a scale in 4 bits."""
PRODUCTS = ("MatMul", "Gemm")


@attrs.frozen
class Onnx:
    """A graph for ONNX Runtime, of any batch and any length up to the model's.

    The graph takes rows of item vectors and gives the state that items are scored with, so that the item table is
    stored once, beside it, and can be shared between processes.
    """

    weights: str = setting(
        "float32",
        help="float32; int8: weights of the layers' products in 8 bits, inputs quantised as they come; int4: weights "
        "in 4 bits, 32 to a scale, for disk and memory",
        choices=("float32", "int8", "int4"),
    )
    table: str = setting(
        "float32", help="form of the item table; of int8 each row has a scale", choices=("float32", "float16", "int8")
    )

    def export(self, parts: ExportedParts, file: Path, report: Reporter) -> Mapping[str, Any]:
        """Raises ModelError where there is no graph of it, with every dimension free, or a product stays as it was."""
        try:
            import onnx  # noqa: F401
            import onnxruntime  # noqa: F401
            import onnxscript  # noqa: F401
        except ImportError as error:
            raise NeedsError(f"exporting to ONNX needs {error.name}", "pip install 'lwa[onnx]'") from error
        with TemporaryDirectory(prefix="lwa-") as scratch:
            plain = Path(scratch) / file.name
            products = _write_graph(parts, plain)
            if self.weights == "float32":
                file.write_bytes(plain.read_bytes())
                return {"weights": self.weights, "table": self.table, "quantised": 0}
            _quantise(plain, file, self.weights)
        quantised = _count(file, {"int8": "MatMulInteger", "int4": "MatMulNBits"}[self.weights])
        if quantised < products:
            raise ModelError(f"{products - quantised} of {products} products were not quantised to {self.weights}")
        return {"weights": self.weights, "table": self.table, "quantised": quantised}


def _write_graph(parts: ExportedParts, file: Path) -> int:
    """Write the network in float32; gives how many of its products are with weights."""
    import torch
    from torch.export import Dim

    width = parts.table.shape[1]
    length = min(parts.history, 7)
    given: list[torch.Tensor] = [torch.zeros(3, length, width), torch.tensor([length - 1, 0, length // 2])]
    batch, time = Dim("batch"), Dim("time", max=parts.history)
    shapes: dict[str, Any] = {"rows": {0: batch, 1: time}, "last": {0: batch}}
    if parts.times:
        given.append(torch.zeros(3, length, dtype=torch.int64))
        shapes["times"] = {0: batch, 1: time}
    if parts.history == 1:
        del shapes["rows"][1]
    network = parts.network.to("cpu").float().eval()
    try:
        with warnings.catch_warnings(), torch.no_grad(), _quiet("torch.onnx"):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network,
                tuple(given),
                dynamo=True,
                input_names=list(shapes),
                output_names=["state"],
                dynamic_shapes=shapes,
                verbose=False,
            )
    except Exception as error:  # torch says in pages what it could not follow, and each of its steps raises its own
        cause = " ".join(str(error.__cause__ or error).split())[:200]
        raise ModelError(f"the network cannot be written as one graph: {cause}") from error
    assert program is not None
    program.save(str(file))
    _forget_sources(file)
    return _check_graph(file, shapes)


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Only errors are logged: it names packages that it could do without to whoever is logged to."""
    import logging

    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _forget_sources(file: Path) -> None:
    """Leave out where each node comes from: traces with paths of this machine, two thirds of a small graph."""
    import onnx

    model = onnx.load(str(file))
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer):
        del part.metadata_props[:]
    onnx.save(model, str(file))


def _check_graph(file: Path, shapes: Mapping[str, Mapping[int, Any]]) -> int:
    """Every dimension that is to be free is; gives how many products have constant weights."""
    import onnx

    graph = onnx.load(str(file)).graph
    wanted = {**shapes, "state": {0: None}}
    for value in [*graph.input, *graph.output]:
        dimensions = value.type.tensor_type.shape.dim
        for place in wanted.get(value.name, {}):
            if not dimensions[place].dim_param:
                fixed = dimensions[place].dim_value
                raise ModelError(f"the graph is for {fixed} along dimension {place} of {value.name} and no other")
    constant = {each.name for each in graph.initializer}
    return sum(node.op_type in PRODUCTS and bool(constant & set(node.input[1:2])) for node in graph.node)


def _quantise(plain: Path, file: Path, weights: str) -> None:
    with _quiet_logging():
        if weights == "int8":
            from onnxruntime.quantization import QuantType, quantize_dynamic

            quantize_dynamic(
                plain, file, op_types_to_quantize=list(PRODUCTS), weight_type=QuantType.QInt8, per_channel=False
            )
            return
        import onnx
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

        model = onnx.load(str(plain))
        _gemm_as_product(model)
        quantizer = MatMulNBitsQuantizer(model, block_size=BLOCK, is_symmetric=True)
        quantizer.process()
        quantizer.model.save_model_to_file(str(file))


@contextmanager
def _quiet_logging() -> Iterator[None]:
    """Leave the root logger as it is.

    One quantiser recommends another step to whoever is logged to, and the other gives the logger a handler and a level
    when it is imported, so that this process would print what every library logs.
    """
    import logging

    level, handlers = logging.root.level, list(logging.root.handlers)
    try:
        import onnxruntime.quantization.matmul_nbits_quantizer  # noqa: F401

        logging.root.setLevel(logging.ERROR)
        yield
    finally:
        logging.root.setLevel(level)
        logging.root.handlers[:] = handlers


def _gemm_as_product(model: Any) -> None:
    """X · W + b in two nodes where they are one: only plain products are quantised to 4 bits."""
    import onnx
    from onnx import helper, numpy_helper

    held = {each.name: each for each in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        turned = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        fitting = node.op_type == "Gemm" and node.input[1] in held and not turned.get("transA", 0)
        if not (fitting and turned.get("alpha", 1.0) == 1.0 and turned.get("beta", 1.0) == 1.0):
            nodes.append(node)
            continue
        weight = numpy_helper.to_array(held[node.input[1]])
        name = f"{node.output[0]}_weight"
        turned_weight = np.ascontiguousarray(weight.T if turned.get("transB", 0) else weight)
        model.graph.initializer.append(numpy_helper.from_array(turned_weight, name))
        biased = len(node.input) > 2
        product = f"{node.output[0]}_product" if biased else node.output[0]
        nodes.append(helper.make_node("MatMul", [node.input[0], name], [product], name=f"{node.name}_product"))
        if biased:
            nodes.append(helper.make_node("Add", [product, node.input[2]], [node.output[0]], name=f"{node.name}_bias"))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [each for each in model.graph.initializer if each.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    onnx.checker.check_model(model)


def _count(file: Path, operation: str) -> int:
    import onnx

    return sum(node.op_type == operation for node in onnx.load(str(file)).graph.node)
