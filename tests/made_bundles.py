"""Bundles of made-up item vectors: the network gives the vector of the last item, so that every score is known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import attrs
import numpy as np
import torch

from lwa_core import Catalogue, ExportedParts, Quiet
from lwa_core.pipeline.bundles import write_bundle


class LastItem:
    """An exporter of a network that gives the last row; of a history of nothing that is padding."""

    def __init__(self, table="float32", of=None):
        self.table, self.of = table, of

    def export(self, parts, file, report):
        write_graph(file, parts.table.shape[1], self.of)
        return {"weights": "float32", "table": self.table, "quantised": 0}


def write_graph(file, width, of=None):
    """The last row, and where there is a name `of` that operation of it."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Unsqueeze", ["last", "one"], ["places"]),
        helper.make_node("GatherND", ["rows", "places"], ["row"], batch_dims=1),
        helper.make_node(of or "Identity", ["row"], ["state"]),
    ]
    one = helper.make_tensor("one", TensorProto.INT64, [1], [1])
    inputs = [
        helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["batch", "time", width]),
        helper.make_tensor_value_info("last", TensorProto.INT64, ["batch"]),
    ]
    output = helper.make_tensor_value_info("state", TensorProto.FLOAT, ["batch", width])
    graph = helper.make_graph(nodes, "last item", inputs, [output], [one])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    file.write_bytes(made.SerializeToString())


@attrs.frozen(eq=False)
class MadeRanker:
    """What `write_bundle` needs of a ranker."""

    recommender: Any
    catalogue: Catalogue
    scores: Any
    layers: int
    model: torch.nn.Module = attrs.field(factory=torch.nn.Identity)
    component: str = "made"
    time_unit: str = "auto"
    filter_seen: bool = True


def made_bundle(folder, table, ids=None, exporter=None, titles=None, layers=3, **known):
    """A bundle of these item vectors (items, width), by the same function that writes any."""
    ids = tuple(ids or (f"i{item}" for item in range(len(table))))
    rows = torch.from_numpy(np.asarray(table, dtype=np.float32))
    parts = ExportedParts(torch.nn.Identity(), rows, torch.zeros(1, rows.shape[1]), history=8)

    def scores(histories):
        """By the vector of the last item."""
        states = [rows[int(each[-1])] if len(each) else torch.zeros(rows.shape[1]) for each in histories]
        return torch.stack([rows @ state for state in states])

    recommender = SimpleNamespace(parts=lambda model: parts)
    ranker = MadeRanker(recommender, Catalogue(ids, titles), scores, layers)
    return write_bundle(ranker, exporter or LastItem(), folder, known.pop("report", Quiet()), **known)[0]
