"""A depth plan in the words of other tools."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lwa_core.errors import LwaError, StoreError
from lwa_core.results.as_json import from_json
from lwa_core.results.reading import assert_finished
from lwa_core.results.schema import PlanResult
from lwa_core.store.files import read_json
from lwa_core.types import DepthPlan

MOST_LAYERS = 100_000
"""More than any model has; what is more would be counted up for ever."""


def read_plan(run: Path) -> DepthPlan:
    """The depth plan of a finished run. Raises StoreError where the folder is none, or the run selected no layers."""
    assert_finished(run)
    told = read_json(run / "metrics.json")
    try:
        plan = told["plan"]
        if plan is None:
            raise StoreError(f"the run in {run} selected no layers", "its recipe has no [select]")
        read = from_json(plan, PlanResult)
        if read.depth > MOST_LAYERS:
            raise ValueError(f"{read.depth} layers")
        return DepthPlan(read.depth, read.tiers, read.trace)
    except (KeyError, TypeError, ValueError) as error:
        hint = "running the recipe again writes it anew"
        raise StoreError(f"{run / 'metrics.json'} is damaged: its plan cannot be read: {error}", hint) from error


def teacher_of(run: Path) -> tuple[Path, str]:
    """The folder of a run's teacher, and the precision of its weights (`float32` where its configuration is silent)."""
    folder = run / "models" / "teacher"
    config: Any = read_json(folder / "config.json")
    if not isinstance(config, dict):
        raise StoreError(f"{folder / 'config.json'} is damaged: it holds no JSON object")
    return folder, str(config.get("dtype") or config.get("torch_dtype") or "float32")


def removed_layers(kept: Sequence[int], depth: int) -> list[int]:
    """The layers of `depth` that go, rising."""
    return [layer for layer in range(depth) if layer not in set(kept)]


def stretches(kept: Sequence[int]) -> list[tuple[int, int]]:
    """The runs of neighbouring layers, half-open: (0, 1, 2, 5) -> [(0, 3), (5, 6)]."""
    found: list[tuple[int, int]] = []
    for layer in kept:
        if found and found[-1][1] == layer:
            found[-1] = (found[-1][0], layer + 1)
        else:
            found.append((layer, layer + 1))
    return found


def as_mergekit(kept: Sequence[int], model: str, dtype: str) -> str:
    """A configuration of mergekit (YAML) that takes just these layers of a model.

    Args:
        kept: The layers, in order.
        model: Folder or hub name of the full model.
        dtype: The precision to write, as mergekit calls it, for example `bfloat16`.

    Raises:
        LwaError: No layer is kept.
    """
    if not kept:
        raise LwaError("a plan that keeps no layer cannot be written for mergekit")
    lines = ["slices:"]
    for first, end in stretches(kept):
        lines += ["- sources:", f"  - model: {_quoted(model)}", f"    layer_range: [{first}, {end}]"]
    return "\n".join([*lines, "merge_method: passthrough", f"dtype: {dtype}"]) + "\n"


def as_llama_cpp(kept: Sequence[int], depth: int) -> str:
    """The command of llama.cpp that leaves the other layers out of a file of the full model; it counts from 0, too.

    Raises:
        LwaError: No layer is kept, or all are.
    """
    removed = [str(layer) for layer in removed_layers(kept, depth)]
    if not kept or not removed:
        raise LwaError(f"a plan that keeps {'all' if kept else 'no'} layers leaves nothing for llama-quantize to do")
    return f"llama-quantize --prune-layers {','.join(removed)} teacher.gguf student.gguf COPY\n"


def _quoted(text: str) -> str:
    """A string as YAML writes it: as JSON does, but for what lies beyond sixteen bits."""
    written = json.dumps(text, ensure_ascii=False)
    return "".join(c if " " <= c <= "~" else f"\\U{ord(c):08x}" for c in written)


def as_text(kept: Sequence[int], depth: int) -> str:
    """A sentence for people: which layers of `depth` to remove."""
    removed = removed_layers(kept, depth)
    if not removed:
        return "remove no layer"
    return f"remove layer{'s' if len(removed) > 1 else ''} {', '.join(map(str, removed))} (0-based)"
