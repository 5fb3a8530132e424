"""What the files of a model folder must be before anything is built or allocated from them.

A folder is somebody else's. What it says is believed as far as its weights bear it out: a configuration that describes
more than they hold is refused, names lead nowhere but into the folder, and nothing in it chooses which code runs.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from os.path import isfile
from pathlib import Path
from typing import Any, TypeAlias

import attrs
from safetensors import safe_open

from lwa_core.errors import ModelError

Values: TypeAlias = dict[str, Any]

CONFIG, ONE_FILE, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
SUBJECT = "subject.json"
"""Lies with a saved model of texts, and says how it is asked."""
MOST_JSON = 2**24
"""Bytes of a configuration; those of real models have some thousands."""
MOST_INDEX = 2**27
DEEPEST = 2**12
"""Layers, blocks or stages that any key may speak of, whatever the weights hold."""
CHOOSES_CODE = re.compile(
    r"attn_implementation|experts_implementation|use_kernels|kernel_config|auto_map|custom_pipelines"
)
"""Keys that say which implementation runs, or name code; they may name a repository of kernels to fetch."""
COUNT = re.compile(r"^(num|n)_|(layers?|depths?|blocks?|stages?|heads?|experts?|groups?)$|(_size|_dim)$")
NUMBER = re.compile(r"^(num|n)_|_size$")
"""Keys that hold a number and no switch."""
DEPTH = re.compile(r"(^|_)(layers?|depths?|blocks?|stages?)$|types|pattern")
INFINITE = re.compile(r"limit")
"""Keys whose numbers may be infinite (Mamba's `time_step_limit`)."""
PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt", "*.h5", "*.msgpack")


@attrs.frozen
class Held:
    """What weight files hold.

    Args:
        files: By name.
        tensors: How many there are.
        numbers: In all of them, packed codes counted as the most numbers that they can stand for.
    """

    files: tuple[str, ...]
    tensors: int
    numbers: int


def read_values(folder: Path) -> Values:
    """The configuration in a folder, without what chooses code.

    Raises:
        ModelError: There is none, it is no JSON object, or a number in it cannot be meant.
    """
    if not (folder / CONFIG).is_file():
        raise ModelError(f"no model in {folder}: {CONFIG} is missing")
    values: Values = _plain(json_object(folder / CONFIG, MOST_JSON))
    for path, value in _leaves(values, ()):
        _assert_meant(folder / CONFIG, path, value)
    return values


def json_object(file: Path, most: int = MOST_JSON) -> Values:
    """A JSON object of at most so many bytes. Raises ModelError where the file holds none."""
    try:
        if file.stat().st_size > most:
            raise ModelError(f"{file} is larger than {most} bytes")
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"cannot read {file}: {error}") from error
    if not isinstance(found, dict):
        raise ModelError(f"{file} holds no JSON object")
    return found


def held_by(folder: Path) -> Held:
    """What the weights of a folder hold, by their headers alone.

    Raises:
        ModelError: There are none in safetensors, the index names something else than files of the folder, or a file
            is damaged.
    """
    return held_in(folder, _weight_files(folder))


def held_in(folder: Path, names: Sequence[str]) -> Held:
    """What these safetensors files of a folder hold. Raises ModelError where one is damaged."""
    count = numbers = 0
    for name in names:
        try:
            with safe_open(folder / name, "pt") as opened:
                for key in opened.keys():  # noqa: SIM118 -- it is no mapping
                    part = opened.get_slice(key)
                    count += 1
                    numbers += math.prod(part.get_shape()) * (8 if part.get_dtype() in ("U8", "I8", "I32") else 1)
        except Exception as error:  # safetensors raises its own kind, the system others
            raise ModelError(f"cannot load the model in {folder}: {name}: {error}") from error
    return Held(tuple(names), count, numbers)


def assert_borne_out(file: Path, values: Values, held: Held) -> None:
    """See that no count in a configuration goes beyond what the weights can hold.

    Raises:
        ModelError: One does.
    """
    for path, value in _leaves(values, ()):
        key = next((str(part) for part in reversed(path) if not isinstance(part, int)), "")
        if type(value) is not int or not (COUNT.search(key) or DEPTH.search(key)):
            continue
        most = max(DEEPEST, held.tensors) if DEPTH.search(key) else max(DEEPEST, held.numbers)
        if abs(value) > most and not _is_position(key):
            said = f"{_spelt(path)} is {value}, and the weights hold {held.tensors} tensors of {held.numbers} numbers"
            raise ModelError(f"{file}: {said}")


def _weight_files(folder: Path) -> tuple[str, ...]:
    if (folder / ONE_FILE).is_file():
        return (ONE_FILE,)
    if (folder / INDEX).is_file():
        named = json_object(folder / INDEX, MOST_INDEX).get("weight_map")
        if not isinstance(named, dict) or not named:
            raise ModelError(f"{folder / INDEX} has no `weight_map`")
        for name in named.values():
            if not isinstance(name, str) or not _is_plain(name):
                raise ModelError(f"{folder / INDEX} names {name!r}, which is no safetensors file of the folder")
            if not isfile(folder / name):  # a name may be longer than any file's
                raise ModelError(f"{folder / INDEX} names {name}, which is missing")
        return tuple(dict.fromkeys(named.values()))
    pickles = [path.name for ending in PICKLES for path in sorted(folder.glob(ending))]
    if pickles:
        hint = "convert them: load the model where you trust it, and `save_pretrained` it again"
        said = f"its weights are no safetensors but {', '.join(pickles)}"
        raise ModelError(f"cannot load the model in {folder}: {said}", hint)
    raise ModelError(f"cannot load the model in {folder}: {ONE_FILE} is missing")


def _is_plain(name: str) -> bool:
    return name.endswith(".safetensors") and Path(name).name == name and not set(name) & set("/\\\0")


def _is_position(key: str) -> bool:
    """Positions and windows are counted without weights for them."""
    return bool(re.search(r"position|window|chunk|context|length|seq|_ctx|theta|token", key))


def _plain(value: Any) -> Any:
    """A configuration without what chooses code, and with the numbers that transformers spells as objects."""
    if isinstance(value, dict):
        if value.keys() == {"__float__"} and value["__float__"] in ("Infinity", "-Infinity", "NaN"):
            return float(value["__float__"])
        return {key: _plain(inner) for key, inner in value.items() if not CHOOSES_CODE.search(key)}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def _leaves(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every value that is no container, and where it is."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if inner is None:
        yield path, value
        return
    for key, each in inner:
        yield from _leaves(each, (*path, key))


def _assert_meant(file: Path, path: tuple[str | int, ...], value: Any) -> None:
    key = str(path[-1])
    if isinstance(value, float) and not math.isfinite(value):
        if math.isnan(value) or not INFINITE.search(_spelt(path)):
            raise ModelError(f"{file}: {_spelt(path)} is {value}, no number to compute with")
    elif isinstance(value, bool) and NUMBER.search(key):
        raise ModelError(f"{file}: {_spelt(path)} is {value}, and should be a number")
    elif type(value) is int and abs(value) >= 2**63:
        raise ModelError(f"{file}: {_spelt(path)} is a number of {value.bit_length()} bits")


def _spelt(path: tuple[str | int, ...]) -> str:
    return ".".join(map(str, path))
