"""`quantise`: weights of 8 or 4 bits, rounded once and not trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import attrs

from lwa_core import CompressionJob, ModelError, setting

if TYPE_CHECKING:
    import torch

    from lwa_core import LayeredModel

BITS = {"int8": 8, "int4": 4}


@attrs.frozen
class Quantise:
    """Post-training quantisation: what `qlora`, which trains adapters beside its 4-bit weights, has to beat.

    Linear maps of the layers, the item table, or both become whole numbers with a scale for every 64 numbers of a row,
    rounded to the nearest, of some shrinkages of the scale the one with the smallest squared error. They are decoded
    when they are used: on a CPU this saves memory and costs time.
    """

    layers: str = setting("int8", help="the linear maps of the layers", choices=("float32", *BITS))
    table: str = setting("float32", help="the item table, most of a model over ids", choices=("float32", *BITS))

    def compress(self, job: CompressionJob) -> torch.nn.Module:
        from lwa_core.modeling import coded, memory_bytes, parameter_count

        student = job.cut()
        before = memory_bytes(student.model)
        model = self._coded(student)
        touched = coded(model).values()
        if not touched:
            raise ModelError("there is nothing that `quantise` is asked to touch", 'set layers or table to "int8"')
        own = 8 * sum(map(memory_bytes, touched)) / sum(map(parameter_count, touched))
        whole, count = memory_bytes(model), parameter_count(model)
        job.report.note(
            f"{len(touched)} matrices: {own:.2f} bits a weight in memory; the whole model: {8 * before / count:.2f} -> "
            f"{8 * whole / count:.2f}"
        )
        return model

    def save(self, model: torch.nn.Module, folder: Path) -> None:
        from lwa_core import save_weights

        save_weights(model, folder)

    def restore(self, model: torch.nn.Module, folder: Path) -> torch.nn.Module:
        from lwa_core import LayeredModel, load_weights

        return load_weights(self._coded(LayeredModel(model)), folder)

    def _coded(self, student: LayeredModel) -> torch.nn.Module:
        import torch

        from lwa_core.modeling import CodedEmbedding, CodedLinear, packed_module

        if student.model is not student.base or any(packed_module(layer) is not None for layer in student.layers):
            raise ModelError(
                "the model has quantised weights or an adapter already", "give `quantise` once, and no qlora"
            )
        if self.layers in BITS:
            linears = [name for name, module in student.base.named_modules() if type(module) is torch.nn.Linear]
            inside = [name for name in linears if name.startswith(f"{student.path}.")]
            if not inside:
                raise ModelError("the layers have no torch.nn.Linear that could be quantised", 'set layers = "float32"')
            for name in inside:
                linear = cast(torch.nn.Linear, student.base.get_submodule(name))
                student.base.set_submodule(name, CodedLinear.of(linear, BITS[self.layers]))
        if self.table in BITS:
            model: Any = student.model
            table = model.get_input_embeddings()
            if type(table) is not torch.nn.Embedding or model.get_output_embeddings() is not None:
                said = f"{type(model).__name__} has no item table of its own that could be quantised"
                raise ModelError(said, "leave out `table`")
            model.set_input_embeddings(CodedEmbedding.of(table, BITS[self.table]))
        return student.model
