"""The built-in exporter passes what every exporter must, and exporters that are wrong in known ways do not."""

import attrs
import pytest

from lwa_core.testing import check_exporter
from lwa_plugins.exporters.onnx import Onnx

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

pytestmark = pytest.mark.slow


@attrs.frozen
class Wrong:
    """The built-in one, with something done to what it leaves."""

    said: dict = attrs.field(factory=dict)
    inner: Onnx = attrs.field(factory=Onnx)

    def export(self, parts, file, report):
        return {**self.inner.export(parts, file, report), **self.said}


class Shifts(Wrong):
    """Gives the states of another model."""

    def export(self, parts, file, report):
        import torch

        class Shifted(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = parts.network

            def forward(self, rows, last, times=None):
                given = (rows, last) if times is None else (rows, last, times)
                return self.inner(*given) + 0.5

        return super().export(attrs.evolve(parts, network=Shifted()), file, report)


class Forgets(Wrong):
    """Writes nothing."""

    def export(self, parts, file, report):
        said = super().export(parts, file, report)
        file.unlink()
        return said


class Trains(Wrong):
    """Changes the model that it was lent."""

    def export(self, parts, file, report):
        import torch

        with torch.no_grad():
            next(parts.network.parameters()).add_(1.0)
        return super().export(parts, file, report)


class FixesTheBatch(Wrong):
    """Writes a graph for one history and no other number."""

    def export(self, parts, file, report):
        import torch

        length, width = min(parts.history, 4), parts.table.shape[1]
        program = torch.onnx.export(
            parts.network,
            (torch.zeros(1, length, width), torch.tensor([0])),
            dynamo=True,
            input_names=["rows", "last"],
            output_names=["state"],
            verbose=False,
        )
        program.save(str(file))
        return {"weights": "float32", "table": "float32", "quantised": 0}


@pytest.mark.parametrize("weights", ["float32", "int8", "int4"])
def test_the_built_in_one_conforms(weights):
    check_exporter(Onnx(weights=weights, table="float32"))


@pytest.mark.parametrize(
    "exporter", [Wrong({"table": "float8"}), Wrong({"weights": 3}), Shifts(), Forgets(), Trains(), FixesTheBatch()]
)
def test_what_is_wrong_is_an_assertion(exporter):
    with pytest.raises(AssertionError):
        check_exporter(exporter)


def test_what_has_no_method_is_no_exporter():
    with pytest.raises(AssertionError, match="export"):
        check_exporter(object())
