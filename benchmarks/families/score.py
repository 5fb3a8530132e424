"""Which families does lwa score, and are its figures those of the reference?

python score.py OUT.jsonl causal masked classify [--only NAME,NAME]
"""

import argparse
import json
import signal
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
import transformers
from reference import scores as expected_scores
from tiny import TASKS, build
from tokenizers import Tokenizer, models, pre_tokenizers

from lwa_core import LayeredModel, LwaError, Probe, Quiet
from lwa_core.pipeline.scoring import is_observing, observed_scores, queried_scores
from lwa_core.plugins.registry import Registry
from lwa_core.recipe.recipe import Use
from lwa_core.text import loading
from lwa_core.text.examples import make_examples
from lwa_core.text.reading import Text

SCORERS = ("leave-one-out", "block-influence", "fisher")
SECONDS, BATCH, LENGTH, ENOUGH = 300, 8, 60, 2e-3


class SlowError(BaseException):
    """A family took too long."""


def tokenizer():
    words = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4} | {f"w{i}": i for i in range(5, 100)}
    made = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    names |= {"mask_token": "<mask>", "cls_token": "<s>", "sep_token": "</s>"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=LENGTH, **names)


def texts(labelled, count=9):
    rng = np.random.default_rng(0)

    def text(line):
        words = " ".join(f"w{i}" for i in rng.integers(5, 100, rng.integers(3, 16)))
        return Text(words, int(rng.integers(0, 3)) if labelled else None, line)

    return [text(line) for line in range(1, count + 1)]


def family(task, kind, registry):
    """One line of the census."""
    row = {"task": task, "kind": kind}
    try:
        model = build(kind, task)
    except Exception as error:  # every family has its own
        return {**row, "status": "not built", "why": repr(error)[:200]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model.save_pretrained(folder)
        tokenizer().save_pretrained(folder)
        try:
            asked = loading.load_text_model(folder, task)
            made = make_examples(asked, texts(task == "classify"), folder, length=LENGTH, cuts=1, seed=0)
            asked.check(made.histories[:BATCH])
            layered = LayeredModel(asked.model)
        except LwaError as error:
            return {**row, "status": "refused", "why": str(error.message)[:300]}
        except Exception as error:  # a crash of ours or of transformers
            return {**row, "status": "crash", "why": repr(error)[:300]}
        row |= {"class": type(asked.model).__name__, "depth": layered.depth}
        return row | {"status": "scored", "scorers": scored(asked, layered, made, task, registry, row)}


def scored(asked, layered, made, task, registry, row):
    """What each scorer gave, beside the reference."""
    wanted, found = None, {}
    for name in SCORERS:
        offer = registry.find("scorer", name)
        use = Use("scorer", name, name, offer, {}, offer.load()(), ())
        probe = Probe(layered, asked, made.histories, made.targets, batch=BATCH)
        try:
            mine = observed_scores([use], probe, Quiet())[name] if is_observing(use) else queried_scores(use, probe)
            row |= {"batching": probe.batching.name, "replays": probe.replays}
        except LwaError as error:
            found[name] = {"is": "refused", "why": str(error.message)[:300]}
            continue
        except Exception as error:  # a crash of ours or of transformers
            found[name] = {"is": "crash", "why": repr(error)[:300]}
            continue
        if wanted is None:
            examples = list(zip(made.histories, made.targets, strict=True))
            wanted = expected_scores(asked.model, layered.layers, task, examples)
        off = float(np.abs(mine.scores.mean - wanted[name]).max() / (1e-6 + np.abs(wanted[name]).max()))
        found[name] = {"is": "right" if off < ENOUGH else "WRONG", "off": off}
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("tasks", nargs="+", choices=TASKS)
    parser.add_argument("--only", default="", help="model types, separated by commas")
    told = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    # Families with a tokenizer class of their own would read the toy one with it.
    loading.load_tokenizer = lambda _: tokenizer()
    registry, only = Registry.discover(), set(told.only.split(",")) - {""}

    def slow(*_):
        raise SlowError(f"over {SECONDS} s")

    signal.signal(signal.SIGALRM, slow)
    with told.out.open("a") as out:
        for task in told.tasks:
            for kind in TASKS[task][1]:
                if only and kind not in only:
                    continue
                begun = time.perf_counter()
                signal.alarm(SECONDS)
                try:
                    row = family(task, kind, registry)
                except SlowError as error:
                    row = {"task": task, "kind": kind, "status": "slow", "why": str(error)}
                signal.alarm(0)
                row["seconds"] = round(time.perf_counter() - begun, 1)
                out.write(json.dumps(row) + "\n")
                out.flush()


if __name__ == "__main__":
    main()
