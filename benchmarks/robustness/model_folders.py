"""Model folders that are nearly right: configurations, weights, indexes, tokenizers and lwa's own files, changed.

Each is loaded as `lwa score`, a recipe or `lwa_core.load` would, and what comes of it is asked once. The folders are of
a language model, the same in parts, one that lwa saved, one with an adapter, and a recommender.
"""

import json
import shutil
import struct
import tempfile
from pathlib import Path

from harness import Fuzz, main

BASES = {}
"""Name of a folder -> where it is."""

KEYS = [
    *("num_hidden_layers", "hidden_size", "vocab_size", "num_attention_heads", "_attn_implementation", "auto_map"),
    *("quantization_config", "dtype", "torch_dtype", "architectures", "model_type", "layer_types", "num_labels"),
    *("rope_parameters", "max_position_embeddings", "pad_token_id", "use_kernels", "text_config", "head_dim"),
    *("is_encoder_decoder", "tie_word_embeddings", "hidden_act", "id2label", "sliding_window", "rms_norm_eps", "é", ""),
]
ODD = [
    *(0, -1, 1, 2, 3, 7, 2**31, 2**53 + 1, 2**63, 10**9, 10**30, 0.5, -0.0, 1e308, 1e-320, None, True, False),
    *(
        "",
        " ",
        "1",
        "nan",
        "auto",
        "..",
        "../model.safetensors",
        "/etc/passwd",
        "/dev/zero",
        "a" * 300,
        "\0",
        "\x1b[31m",
    ),
    *("somebody/kernels", "float8_e4m3fn", "int8", "bfloat16", "llama", "bert", "gpt2", "__class__", "os.system"),
    *([], {}, [[]], [{}], {"a": {}}, [1, "a"], [None], [10**9], {"": 1}, ["full_attention"] * 3, [["global", 10**9]]),
    *(
        {"quant_method": "bitsandbytes", "load_in_4bit": True},
        {"quant_method": "gptq", "bits": 4},
        {"0": "a", "1": "b"},
    ),
    *({"rope_type": "yarn", "factor": -1.0}, {"rope_theta": 0.0}, {"AutoModel": "a.B"}, "é", "\ud800", "silu", "relu"),
]
RAW = ["NaN", "Infinity", "-Infinity", "1e400", "9" * 5000, "[" * 3000, "{", "]", '"', ",", "\0", "\ufeff", "//", "'"]
NAMES = [
    *("pytorch_model.bin", "model.pt", "model.safetensors", "model.safetensors.index.json", "adapter_config.json"),
    *("part.safetensors", "a.json", "config.json", "modeling_mine.py", "tokenizer.model", "special_tokens_map.json"),
]
WEIGHTS = ("model.safetensors", "part.safetensors", "adapter/adapter_model.safetensors", "head.safetensors")


def open_():
    """The folders, of a few thousand weights each."""
    import torch
    import transformers
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import load_file, save_file
    from tokenizers import Tokenizer, models, pre_tokenizers

    from lwa_core.data import Catalogue
    from lwa_core.modeling.files.saving import save_model
    from lwa_core.recommendation.ranker import Ranker
    from lwa_core.testing import tiny_probe, tiny_recommender
    from lwa_core.text.loading import load_text_model, save_text_model

    torch.set_num_threads(1)
    held = Path(tempfile.mkdtemp(prefix="lwa-folders-"))
    sizes = {"vocab_size": 45, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2}
    config = transformers.LlamaConfig(**sizes, num_attention_heads=2, num_key_value_heads=1)
    model = transformers.LlamaForCausalLM(config).eval()
    words = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1} | {f"w{i}": 2 + i for i in range(40)}, "[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=32, **names)
    for name in ("plain", "parts", "adapted"):
        model.save_pretrained(held / name)
        tokenizer.save_pretrained(held / name)
    weights = load_file(held / "parts" / "model.safetensors")
    (held / "parts" / "model.safetensors").unlink()
    save_file(weights, held / "parts" / "part.safetensors", metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": dict.fromkeys(weights, "part.safetensors")}
    (held / "parts" / "model.safetensors.index.json").write_text(json.dumps(index))
    save_text_model(load_text_model(held / "plain"), held / "saved")
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"]))
    shutil.rmtree(held / "adapted")
    save_model(adapted, held / "adapted")
    tokenizer.save_pretrained(held / "adapted")
    recommender = tiny_recommender(width=8, layers=2)
    network = tiny_probe(recommender).model.model
    settings = {"width": 8, "layers": 2}
    catalogue = Catalogue(tuple(f"item {i}" for i in range(30)))
    (held / "ranker").mkdir()
    Ranker(network, recommender, catalogue, "sequential", settings).save(held / "ranker")
    BASES.update({path.name: path for path in held.iterdir()})
    transformers.logging.set_verbosity_error()


def make(rng):
    base = rng.choice(list(BASES))
    files = sorted(path.relative_to(BASES[base]).as_posix() for path in BASES[base].rglob("*") if path.is_file())
    edits = [edit(rng, BASES[base], files) for _ in range(rng.choice([1, 1, 1, 2, 3]))]
    old = rng.random() < 0.8  # a description that knows no checksums, so that what it lists is read at all
    return json.dumps({"base": base, "old": old, "edits": edits}), 1


def edit(rng, folder, files):
    """One change of one file, as JSON."""
    kind = rng.choice(["value"] * 8 + ["header"] * 4 + ["raw", "cut", "bytes", "length", "remove", "rename", "add"])
    texts = [name for name in files if name.endswith(".json")]
    texts += [name for name in texts if "config" in name or name in ("ranker.json", "subject.json")]  # more often
    weights = [name for name in files if name in WEIGHTS]
    name = rng.choice({"value": texts, "raw": texts, "header": weights, "length": weights}.get(kind, files))
    if kind in ("value", "header"):
        content = (folder / name).read_bytes()
        document = json.loads(content) if kind == "value" else header_of(content)[0]
        return [kind, name, path_in(rng, document), rng.choice(["set", "drop"]), rng.choice(ODD)]
    how = {
        "raw": [rng.random(), rng.choice(RAW)],
        "bytes": [[[rng.random() ** 3, rng.randrange(256)] for _ in range(rng.choice([1, 1, 5, 50]))]],
        "length": [rng.choice([0, 1, 7, 8, 100, 2**20, 2**31, 2**40, 2**63, 2**64 - 1])],
        "cut": [rng.choice([0.0, 0.001, 0.1, rng.random(), 0.999])],
    }
    return [kind, name, *how.get(kind, [rng.choice(NAMES)])]


def path_in(rng, value):
    """A way to some value of a JSON document, or to a key that is not there yet."""
    path = []
    while True:
        if isinstance(value, dict) and value and (not path or rng.random() < 0.8):
            if not path and rng.random() < 0.25:
                return [rng.choice(KEYS)]
            key = rng.choice(list(value))
        elif isinstance(value, list) and value and rng.random() < 0.8:
            key = rng.randrange(len(value))
        else:
            return path or [rng.choice(KEYS)]
        path.append(key)
        value = value[key]


def header_of(content):
    """The header of a safetensors file, and the rest. Raises ValueError where another edit has cut it away."""
    if len(content) < 8:
        raise ValueError("no header")
    size = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def changed(value, path, how, new):
    """A JSON document with one value set or dropped."""
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    if how == "set" or not isinstance(inner, (dict, list)):
        inner[path[-1]] = new
    else:
        del inner[path[-1]]
    return value


def value(content, *how):
    return json.dumps(changed(json.loads(content), *how)).encode("utf-8", "surrogatepass")


def header(content, *how):
    document, rest = header_of(content)
    text = json.dumps(changed(document, *how)).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text)) + text + rest


def raw(content, share, text):
    place = int(share * len(content))
    return content[:place] + text.encode() + content[place:]


def flipped(content, places):
    made = bytearray(content)
    for share, byte in places:
        made[int(share * (len(content) - 1))] = byte
    return bytes(made)


CONTENT = {
    "value": value,
    "header": header,
    "raw": raw,
    "bytes": flipped,
    "length": lambda content, size: struct.pack("<Q", size) + content[8:],
    "cut": lambda content, share: content[: int(share * len(content))],
}


def apply(folder, made):
    """Make one change; what no longer finds its place changes nothing."""
    kind, name, *how = made
    file = folder / name
    content = file.read_bytes()
    if kind in CONTENT:
        file.write_bytes(CONTENT[kind](content, *how))
        return
    if kind != "add":
        file.unlink()
    if kind != "remove":
        (folder / how[0]).write_bytes(content)


def attempt(made, folder):
    try:
        told = json.loads(made)
        base = BASES[told["base"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "not an input"
    target = folder / "model"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(base, target)
    for name in ("ranker.json", "subject.json") if told.get("old") else ():
        if (target / name).is_file():
            (target / name).write_text(json.dumps(json.loads((target / name).read_text()) | {"format": 1}))
    for each in told["edits"]:
        try:
            apply(target, each)
        except (ValueError, KeyError, IndexError, TypeError, RecursionError, OSError):
            continue  # one change took away what the next one was to change
    return asked_once(target, ranker=told["base"] == "ranker")


def asked_once(folder, ranker):
    """Load the model and ask it once."""
    import numpy as np

    import lwa_core
    from lwa_core import LayeredModel
    from lwa_core.text.loading import load_text_model

    if ranker:
        answer = lwa_core.load(folder).recommend(["item 1", "item 2"], 3)
        assert len(answer.items) == len(answer.scores) == 3
        return "recommends"
    asked = load_text_model(folder)
    asked.check([np.array([3, 4, 5], dtype=np.int32)])
    assert LayeredModel(asked.model).depth > 0
    return "answers"


FUZZ = Fuzz(make, attempt, "model folders", open_)

if __name__ == "__main__":
    main("model_folders", __doc__, 100_000)
