"""Tokenizers of models in folders, and how many tokens a text can have."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from lwa_core.errors import ModelError
from lwa_core.modeling.libraries import quiet_transformers


def longest_text(model: Any, tokenizer: Any) -> int:
    """How many tokens a text can have, for a model without its head."""
    # RoBERTa's positions begin behind the one that stands for padding.
    begins = [
        m.padding_idx
        for name, m in model.named_modules()
        if name.endswith("position_embeddings") and hasattr(m, "padding_idx")
    ]
    lost = sum(place + 1 for place in begins if place is not None)
    positions = getattr(model.config, "max_position_embeddings", sys.maxsize) - lost
    return int(min(tokenizer.model_max_length, positions))


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer in a folder: local files only, no remote code. Raises ModelError where there is none."""
    import transformers

    try:
        with quiet_transformers():
            tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:  # transformers and tokenizers raise many kinds for a bad folder
        raise ModelError(f"cannot load the tokenizer in {folder}: {error}") from error
    if not any((folder / name).is_file() for name in tokenizer.vocab_files_names.values()):
        raise ModelError(f"no tokenizer in {folder}")  # transformers makes an empty one
    return tokenizer
