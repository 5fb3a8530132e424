"""How long each layer of a model takes, timed on single requests."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch

from lwa_core.modeling.files.sizes import memory_bytes, parameter_count
from lwa_core.modeling.probing.batches import moved
from lwa_core.modeling.probing.probe import Probe
from lwa_core.plugins.protocols import Ranks
from lwa_core.types import LayerCosts


def layer_milliseconds(probe: Probe, requests: int = 100, warm_up: int = 10) -> LayerCosts:
    """Median milliseconds of each layer, and of all around them, over calibration histories at batch 1.

    Timed by hooks around every layer inside one and the same request, so that what slows the machine down for a moment
    slows all of them.
    """
    model, subject = probe.model, probe.subject
    device = next(model.model.parameters()).device
    table = np.zeros((warm_up + requests, model.depth + 1))

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter_ns() / 1e6

    row = 0
    with ExitStack() as hooks, torch.inference_mode():
        for index, layer in enumerate(model.layers):

            def before(_: Any, __: Any, index: int = index) -> None:
                table[row, index] -= now()

            def after(_: Any, __: Any, ___: Any, index: int = index) -> None:
                table[row, index] += now()

            hooks.callback(layer.register_forward_pre_hook(before).remove)
            hooks.callback(layer.register_forward_hook(after).remove)
        for row in range(len(table)):
            example = row % probe.examples
            begin = now()
            if isinstance(subject, Ranks):
                batch = subject.example_batch([probe.histories[example]])
                subject.scores(model.model, moved(batch, model.model))
            else:
                probe.logits(probe.batch_of([example]))
            table[row, -1] = now() - begin
    times = table[warm_up:]
    around = np.median(times[:, -1] - times[:, :-1].sum(axis=1))
    return LayerCosts("milliseconds", tuple(np.median(times[:, :-1], axis=0).tolist()), float(around))


def measure_costs(probe: Probe, kind: str) -> LayerCosts:
    """Parameters, megabytes or milliseconds of each layer, counted or timed on the model itself."""
    model = probe.model
    if kind == "milliseconds":
        return layer_milliseconds(probe)

    def size(module: torch.nn.Module) -> float:
        return float(parameter_count(module)) if kind == "parameters" else memory_bytes(module) / 1e6

    layers = tuple(size(layer) for layer in model.layers)
    return LayerCosts(kind, layers, size(model.base) - sum(layers))
