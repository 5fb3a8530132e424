"""The configuration of a model that has fewer layers: everything in it that speaks of layers, for those that stay.

Families say what their layers are in many ways: a list with an entry a layer, the numbers of some layers, how many of
the first or last are special, every how many there is a special one. Nothing says which of the ways a key follows but
its name, so that a cut configuration is a proposal: `lwa_core.modeling.layers.surgery` builds the model from it and
compares.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

Values = dict[str, Any]

PLAIN_DEPTHS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "layers", "depth", "num_blocks")
ENCODER_DEPTHS = ("encoder_layers", "num_encoder_layers", "encoder_num_hidden_layers")
DECODER_DEPTHS = ("decoder_layers", "num_decoder_layers", "decoder_num_hidden_layers")

PER_LAYER = re.compile(r"layer|types|pattern")
"""Keys of lists that may have an entry a layer."""
NUMBERS = re.compile(r"(^|_)(ids|idxs|indices|indexes)$|_only_layers$|^(moe|cross_attention)_layers$|attention_blocks$")
"""Keys of lists that may hold numbers of layers."""
OTHER = re.compile(r"token|^mtp_|^out_|^architectures$")
"""Keys of lists that are never about the layers."""
FIRST = ("max_window_layers", "first_k_dense_replace", "num_dense_layers", "num_first_full_attention_layers")
"""How many of the first layers are special."""
LAST = ("num_kv_shared_layers", "num_last_full_attention_layers")
"""How many of the last layers are special."""
PERIODIC = ("attn_layer", "expert_layer")
"""Special layers are those whose number is `NAME_offset` modulo `NAME_period` (Jamba)."""


def cut_values(
    values: Mapping[str, Any], kept: Sequence[int], depth: int, depths: Collection[str], every_list: bool = False
) -> Values:
    """What a configuration says once only the layers `kept` of `depth` are left.

    Args:
        values: The configuration's keys.
        kept: The layers that stay, in order.
        depth: How many layers there are.
        depths: The keys that say so.
        every_list: Cut every list that has an entry a layer, also where its name does not say that it is about layers.
    """
    cut = {name: _cut(name, value, kept, depth, every_list) for name, value in values.items()}
    cut |= {name: len(kept) for name in depths}
    for name in PERIODIC:
        cut |= _period(values, name, kept)
    if isinstance(values.get("decoder_sparse_step"), int) and "mlp_only_layers" in values:
        # Layer i is dense where it is listed, or where the step does not divide i + 1 (Qwen's mixtures of experts).
        step, listed = values["decoder_sparse_step"], values["mlp_only_layers"] or ()
        cut["mlp_only_layers"] = [new for new, old in enumerate(kept) if old in listed or (old + 1) % step]
        cut["decoder_sparse_step"] = 1
    if "attention_types" in values and len(values.get("attention_layers") or ()) == depth:
        # GPT-Neo reads the second from the first, which is spelt [[[kinds], times]].
        cut["attention_types"] = [[[kind], 1] for kind in cut["attention_layers"]]
    if values.get("out_indices") == [depth] and "out_features" in values:
        # A vision model that can be a backbone gives out its last stage, where it was not told otherwise.
        cut |= {"out_features": None, "out_indices": None}
    return cut


def _cut(name: str, value: Any, kept: Sequence[int], depth: int, every_list: bool) -> Any:
    if isinstance(value, (list, tuple)):
        return _cut_list(name, value, kept, depth, every_list)
    if name == "per_layer_config" and isinstance(value, dict):
        return {str(new): value[key] for new, old in enumerate(kept) for key in (old, str(old)) if key in value}
    if type(value) is int and name in FIRST:
        return sum(old < value for old in kept)
    if type(value) is int and name in LAST:
        return sum(old >= depth - value for old in kept)
    if isinstance(value, str) and "pattern" in name and len(value) == depth:
        return "".join(value[old] for old in kept)
    return value


def _cut_list(name: str, value: Sequence[Any], kept: Sequence[int], depth: int, every_list: bool) -> Any:
    if name == "block_types" and value:
        return [value[old % len(value)] for old in kept]  # the layers go through it again and again (RecurrentGemma)
    if OTHER.search(name):
        return value
    if NUMBERS.search(name) and _are_numbers(value, depth):
        return [kept.index(old) for old in value if old in kept]
    if _is_per_layer(name, value, depth) or (every_list and len(value) == depth):
        return [value[old] for old in kept]
    return value


def _is_per_layer(name: str, value: Any, depth: int) -> bool:
    if not isinstance(value, (list, tuple)) or OTHER.search(name):
        return False
    return len(value) == depth and PER_LAYER.search(name) is not None


def _are_numbers(value: Sequence[Any], depth: int) -> bool:
    return all(type(entry) is int and 0 <= entry < depth for entry in value) and sorted(set(value)) == list(value)


def _period(values: Mapping[str, Any], name: str, kept: Sequence[int]) -> Values:
    """A period and an offset that say of the kept layers what the old ones said, if there are any that do."""
    period, offset = values.get(f"{name}_period"), values.get(f"{name}_offset")
    if type(period) is not int or type(offset) is not int:
        return {}
    special = [old % period == offset for old in kept]
    for other in range(1, len(kept) + 2):
        for start in range(other):
            if [new % other == start for new in range(len(kept))] == special:
                return {f"{name}_period": other, f"{name}_offset": start}
    return {}


def proposals(
    config: Values, sections: Sequence[tuple[str, ...]], blocks: str, kept: Sequence[int], depth: int
) -> Iterator[Values]:
    """Cut configurations, the likeliest first.

    Args:
        config: The whole configuration.
        sections: Where in it the layers may be described, as keys from its top, the likeliest first.
        blocks: Dotted path of the list of layers; it says whether they are a decoder's.
        kept: The layers that stay.
        depth: How many layers there are.
    """
    decoder = any(part.startswith("decoder") for part in blocks.split("."))
    groups: list[tuple[str, ...]]
    groups = [DECODER_DEPTHS, PLAIN_DEPTHS] if decoder else [PLAIN_DEPTHS + ENCODER_DEPTHS]
    groups += [(name,) for group in groups for name in group]
    seen: list[Values] = []
    for section in sections:
        inside = section_of(config, section)
        for group in groups:
            depths = [name for name in group if inside.get(name) == depth]
            stated = depths or any(_is_per_layer(name, value, depth) for name, value in inside.items())
            for every_list in (False, True) if stated else ():
                proposal = with_section(config, section, cut_values(inside, kept, depth, depths, every_list))
                if proposal not in seen:
                    seen.append(proposal)
                    yield proposal


def section_of(config: Values, section: Sequence[str]) -> Values:
    """What a configuration holds at some keys from its top."""
    for key in section:
        config = config[key]
    return config


def with_section(config: Values, section: Sequence[str], values: Values) -> Values:
    """The configuration with other values there."""
    if not section:
        return values
    return {**config, section[0]: with_section(config[section[0]], section[1:], values)}
