"""Vectors of titles, by a text encoder or a language model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lwa_core import ModelError, Reporter, device
from lwa_core.modeling import batching_of, chunked, fast_linear_maps
from lwa_core.text import load_tokenizer, longest_text
from lwa_plugins.recommenders._sequences import padded
from lwa_plugins.recommenders.backbone.pretrained import read_config, read_transformer

ROUNDING = 1e-5
"""Differences below this share of the values are none."""


def title_vectors(
    titles: Sequence[str],
    folder: Path,
    *,
    pooling: str,
    report: Reporter,
    prefix: str = "",
    length: int = 32,
    batch: int = 64,
) -> torch.Tensor:
    """Vector of every title (titles, width), in float32 on the CPU; zeros for one that is blank.

    Args:
        titles: The titles; equal ones get the same vector, to the last bit.
        folder: The encoder and its tokenizer: local files only, no remote code, safetensors only.
        pooling: `"mean"` of the states of all tokens, that of the `"last"` one, or that of the first one, `"cls"`.
        report: Is told how many titles are done.
        prefix: Put before each title.
        length: Longest title in tokens, the prefix and the tokenizer's own tokens included.
        batch: Titles at once.

    Raises:
        ModelError: All titles are blank, or the encoder cannot be loaded or called with its tokenizer.
    """
    texts = sorted({title for title in titles if title.strip()})
    if not texts:
        raise ModelError("no item has a title", "name the items' metadata in [data], or use `backbone`")
    config = read_config(folder)
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(f"the model in {folder} has an encoder and a decoder; one stack of layers is needed")
    tokenizer = load_tokenizer(folder)
    model = read_transformer(folder, config).to(device())
    ids = _tokens(texts, model, tokenizer, prefix, length)
    # Batches of similar length waste no work on padding.
    order = np.argsort([len(row) for row in ids], kind="stable")
    found = torch.empty(len(texts), config.get_text_config().hidden_size)
    lengths, done = [len(row) for row in ids], 0

    def encoded(rows: Any) -> torch.Tensor:
        return _encoded(model, [ids[row] for row in rows], pooling).float().cpu()

    together = batching_of(encoded, lengths, type(model).__name__, torch.float32)
    if together.value:
        report.note(f"{type(model).__name__}: {together.value}")
    for rows in chunked(order, lengths, batch, together):
        found[torch.from_numpy(rows)] = encoded(rows)
        done += len(rows)
        report.progress(done, len(order), "vectors of titles")
    if len(texts) > 1 and float((found - found[0]).abs().max()) <= ROUNDING * float(found.abs().max()):
        hint = "the first token of a language model knows nothing of the others: pool by mean or last"
        raise ModelError(f"the encoder in {folder} gives all titles the same vector", hint)
    place = {title: number for number, title in enumerate(texts)}
    found = torch.cat([found, torch.zeros_like(found[:1])])
    return found[torch.tensor([place.get(title, len(texts)) for title in titles])]


def standardised(vectors: torch.Tensor) -> torch.Tensor:
    """Each number of the vectors (items, width) less its mean, over its standard deviation; zeros stay zeros.

    Encoders put all texts into a narrow cone (Ethayarajh 2019), and a few numbers are far larger than the rest, which
    would be all that a linear map learns of at first.
    """
    some = vectors.any(dim=1)
    inside = vectors[some].double()
    centred = inside - inside.mean(dim=0)
    spread = centred.square().mean(dim=0).sqrt()
    # What is all but constant holds only rounding errors.
    steady = spread <= ROUNDING * inside.abs().amax(dim=0)
    made = torch.zeros_like(vectors)
    made[some] = torch.where(steady, 0.0, centred / torch.where(steady, 1.0, spread)).to(vectors.dtype)
    return made


def _tokens(texts: Sequence[str], model: Any, tokenizer: Any, prefix: str, length: int) -> list[Any]:
    """Token ids of each text. Raises ModelError where the model does not know them, or there are none."""
    most = min(length, longest_text(model, tokenizer))
    encoded = tokenizer([prefix + text for text in texts], truncation=True, max_length=most)["input_ids"]
    ids = [np.array(row, dtype=np.int32) for row in encoded]
    highest, known = max((int(row.max()) for row in ids if len(row)), default=-1), model.get_input_embeddings()
    if highest >= known.num_embeddings:
        said = f"the tokenizer gives token {highest}, and the encoder knows {known.num_embeddings} tokens"
        raise ModelError(said, "they do not belong together")
    empty = next((text for text, row in zip(texts, ids, strict=True) if not len(row)), None)
    if empty is not None:
        raise ModelError(f"the tokenizer makes no token of {empty!r}", "raise title_tokens, or set a prefix")
    return ids


@torch.no_grad()
def _encoded(model: Any, ids: Sequence[Any], pooling: str) -> torch.Tensor:
    """Vectors of some titles (titles, width)."""
    place = next(model.parameters()).device
    lengths = torch.tensor([len(row) for row in ids])
    mask = (torch.arange(int(lengths.max())) < lengths[:, None]).to(place)
    tokens = torch.from_numpy(padded(ids, first=0)).to(place)
    if getattr(model.config, "pad_token_id", None) is not None:
        tokens = tokens.masked_fill(~mask, model.config.pad_token_id)
    with fast_linear_maps():
        states = model(input_ids=tokens, attention_mask=mask.long()).last_hidden_state
    if pooling == "cls":
        return states[:, 0]  # type: ignore[no-any-return]  # transformers is untyped
    if pooling == "last":
        return states[torch.arange(len(ids), device=place), (lengths - 1).to(place)]  # type: ignore[no-any-return]
    kept = mask[:, :, None]
    return (states * kept).sum(dim=1) / kept.sum(dim=1)  # type: ignore[no-any-return]
