"""Tokenizers of models in folders, and how many tokens a text can have."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from lwa_core.errors import ModelError
from lwa_core.modeling.files.model_folder import json_object
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
    stated = getattr(model.config, "max_position_embeddings", None)
    positions = stated - lost if isinstance(stated, int) and stated > 0 else sys.maxsize  # XLNet's are -1: any
    return int(min(tokenizer.model_max_length, positions))


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer in a folder: local files only, no remote code. Raises ModelError where there is none."""
    import transformers

    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (folder / name).is_file():
            _assert_names_stay_inside(folder / name)
    try:
        with quiet_transformers():
            tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
            list(tokenizer("a")["input_ids"])  # some faults show when it is first called
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # many kinds for a bad folder; a panic of the tokenizers library is no Exception
        raise ModelError(f"cannot load the tokenizer in {folder}: {' '.join(str(error).split())}") from error
    if not any((folder / name).is_file() for name in tokenizer.vocab_files_names.values()):
        raise ModelError(f"no tokenizer in {folder}")  # transformers makes an empty one
    most = tokenizer.model_max_length
    if isinstance(most, bool) or not isinstance(most, (int, float)) or not most >= 1:
        raise ModelError(f"the tokenizer in {folder} takes texts of {most!r} tokens: `model_max_length` is no length")
    return tokenizer


def _assert_names_stay_inside(file: Path) -> None:
    """A tokenizer's own settings may name files; those of other folders are not read."""
    for key, value in json_object(file).items():
        names = value if isinstance(value, list) else [value]
        for name in names if "file" in key else ():
            if isinstance(name, str) and Path(name).name != name:
                raise ModelError(f"{file}: {key} names {name!r}, which is no file of the folder")
