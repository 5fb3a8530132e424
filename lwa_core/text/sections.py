"""The tables of a recipe about texts."""

from __future__ import annotations

from pathlib import Path

import attrs

from lwa_core.data.sections import Measurement
from lwa_core.settings import setting


@attrs.frozen
class Texts:
    """Which texts, and who may look at which of them. Each is in one part, drawn with the seed."""

    path: Path = setting(help="texts: JSON lines (.jsonl), or a table with a header (.csv, .tsv)", path=True)
    text: str = setting("text", help="key or column of the texts")
    label: str = setting("label", help="key or column of the labels, for a classifier")
    pair: str = setting("", help="key or column of the text that belongs to each, for an encoder: its answer")
    score: str = setting("", help="key or column of how alike the two texts of a pair are, for an encoder")
    other: Path | None = setting(
        None, help="texts of another domain, which are only measured, before and after healing", path=True
    )
    most: int = setting(0, help="at most this many texts, drawn with the seed; 0: all", minimum=0)
    length: int = setting(128, help="longest text, in tokens; of longer ones the end is cut off", minimum=2)
    cuts: int = setting(1, help="tokens asked for in each calibration text of a language model", minimum=1)
    validation: float = setting(
        0.1, help="share of the texts that stop training; 0 where nothing is trained", minimum=0.0, maximum=0.9
    )
    calibration: float = setting(0.2, help="share of the texts that score and select layers", above=0.0, maximum=1.0)
    test: float = setting(
        0.2,
        help="share of the texts that only the final evaluation sees; 0: none, and nothing is measured",
        minimum=0.0,
        maximum=0.9,
    )

    def __attrs_post_init__(self) -> None:
        if self.validation + self.calibration + self.test > 1:
            raise ValueError("validation, calibration and test are more than all texts")
        if self.score and not self.pair:
            raise ValueError("score needs pair: it says how alike two texts are")


@attrs.frozen
class Model:
    """The model: a folder with config.json, safetensors and tokenizer. It is loaded, and not trained further."""

    path: Path = setting(help="folder of the model: config.json, safetensors, tokenizer", path=True)
    ask: str = setting(
        "",
        help="causal: the next token; masked: a masked one; classify: the label; encode: the text that belongs to a "
        "text; what config.json says it was made for where left out",
        choices=("", "causal", "masked", "classify", "encode"),
    )
    pooling: str = setting("mean", help="what an encoder's states become a vector by", choices=("mean", "cls", "last"))
    temperature: float = setting(0.05, help="an encoder's cosines are divided by it, as logits", above=0)
    training_targets: int = setting(
        0, help="how many targets the model was trained on, which `laplace` needs; 0: not known", minimum=0
    )


@attrs.frozen
class EvaluateText(Measurement):
    """What the final evaluation measures, on test texts only."""

    k: tuple[int, ...] = setting((1, 10), help="cut-offs of recall@k and NDCG@k, for an encoder of pairs", minimum=1)
