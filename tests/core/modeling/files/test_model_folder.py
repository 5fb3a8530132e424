"""A folder of somebody else is read as far as its weights bear it out, and nothing in it leads out of it."""

import json
import shutil
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_texts import save_text_model, some_texts

from lwa_core import ModelError
from lwa_core.modeling import read_config
from lwa_core.modeling.files.adapter_folder import assert_readable
from lwa_core.modeling.files.model_folder import Held, assert_borne_out, read_values
from lwa_core.text.loading import load_text_model, task_of
from lwa_core.text.loading import save_text_model as save_asked


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return save_text_model("llama", tmp_path_factory.mktemp("llama"))


@pytest.fixture
def folder(llama, tmp_path):
    return shutil.copytree(llama, tmp_path / "model")


def change(folder, **values):
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def logits(folder):
    asked = load_text_model(folder, "causal")
    ids = [torch.tensor(asked.tokenizer(text)["input_ids"]).numpy() for text in some_texts(3)]
    with torch.no_grad():
        hidden, _ = asked.encode(asked.model, asked.example_batch(ids))
        return asked.head(asked.model, hidden)


@pytest.mark.parametrize(
    "values",
    [
        {"_attn_implementation": "somebody/kernels"},
        {"attn_implementation": "kernels-community/flash-attn"},
        {"_attn_implementation_internal": "flash_attention_2"},
        {"_experts_implementation": "somebody/kernels"},
        {"use_kernels": True, "kernel_config": {"RMSNorm": "somebody/kernels"}},
        {"auto_map": {"AutoModelForCausalLM": "modeling_mine.Mine"}},
    ],
)
def test_what_chooses_code_is_left_out(folder, values):
    expected = logits(folder)
    change(folder, **values)
    (folder / "modeling_mine.py").write_text("raise SystemExit('ran')")

    assert torch.equal(expected, logits(folder))
    assert load_text_model(folder).model.config._attn_implementation == "sdpa"
    assert not {key for key in values if key in read_values(folder)}


def test_what_chooses_code_is_left_out_of_sections_too(folder):
    change(folder, text_config={"_attn_implementation": "somebody/kernels", "hidden_size": 4})

    assert {"hidden_size": 4} == read_values(folder)["text_config"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000, and the weights hold 39 tensors"),
        ({"num_hidden_layers": 4096}, "larger model than its weights"),
        ({"hidden_size": 10**6}, "hidden_size is 1000000, and the weights hold"),
        ({"hidden_size": 8192, "intermediate_size": 8192}, "larger model than its weights"),
        ({"vocab_size": 10**12}, "vocab_size is"),
        ({"num_labels": 10**9}, "num_labels is"),
        ({"num_attention_heads": 10**7}, "num_attention_heads is"),
        ({"layer_types": [["full_attention", 10**9]]}, "layer_types.0.1 is"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps is nan, no number to compute with"),
        ({"rms_norm_eps": float("inf")}, "rms_norm_eps is inf"),
        ({"rope_parameters": {"factor": float("-inf")}}, "rope_parameters.factor is -inf"),
        ({"num_hidden_layers": True}, "num_hidden_layers is True, and should be a number"),
        ({"num_hidden_layers": "four"}, "num_hidden_layers"),
        ({"hidden_size": None}, "model"),
        ({"initializer_range": 2**70}, "a number of 71 bits"),
        ({"model_type": "of mine"}, "'of mine' is no `model_type`"),
        ({"model_type": ["llama"]}, "is no `model_type`"),
        ({"num_hidden_layers": 0}, "do not fit|model"),
        ({"num_hidden_layers": -3}, "do not fit|model"),
    ],
)
def test_a_configuration_that_its_weights_do_not_bear_out_is_refused(folder, values, said):
    change(folder, **values)

    with pytest.raises(ModelError, match=said):
        load_text_model(folder, "causal")


def test_limits_may_be_infinite(folder):
    change(folder, time_step_limit=[0.0, {"__float__": "Infinity"}], layer_limits=[float("inf")])

    values = read_values(folder)
    assert ([0.0, float("inf")], [float("inf")]) == (values["time_step_limit"], values["layer_limits"])


@pytest.mark.parametrize("text", ["", "[]", "3", "{", "[" * 10**5, '{"a": ' + "9" * 5000 + "}", "\udcff"])
def test_no_json_object_is_an_error_in_words(folder, text):
    (folder / "config.json").write_text(text, "utf-8", "surrogateescape")

    with pytest.raises(ModelError, match=r"config\.json"):
        read_config(folder)
    with pytest.raises(ModelError, match=r"config\.json"):
        task_of(folder)


def sharded(folder, names):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    save_file(weights, folder / "part.safetensors", metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": dict.fromkeys(weights, names) if isinstance(names, str) else names}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_weights_in_parts_are_read(folder):
    expected = logits(folder)
    sharded(folder, "part.safetensors")

    assert torch.equal(expected, logits(folder))


@pytest.mark.parametrize(
    "names",
    ["../part.safetensors", "/etc/passwd", "a/../part.safetensors", "part.bin", "missing.safetensors", "", "a\\b"],
)
def test_an_index_names_files_of_the_folder_only(folder, names):
    sharded(folder, names)
    shutil.copy(folder / "part.safetensors", folder.parent)

    with pytest.raises(ModelError, match=r"index\.json names"):
        load_text_model(folder)


@pytest.mark.parametrize("names", [None, [], {}, {"a": 3}, {"a": None}, {"a": ["part.safetensors"]}])
def test_an_index_of_another_form_is_refused(folder, names):
    sharded(folder, names)

    with pytest.raises(ModelError, match=r"index\.json"):
        load_text_model(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pkl"])
def test_pickles_are_refused_by_name(folder, name):
    (folder / "model.safetensors").rename(folder / name)

    with pytest.raises(ModelError, match=f"no safetensors but {name}"):
        load_text_model(folder)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\xff" * 8,
        struct.pack("<Q", 2**40) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 63) + b'{"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}} ',
    ],
)
def test_damaged_headers_are_refused(folder, header):
    (folder / "model.safetensors").write_bytes(header)

    with pytest.raises(ModelError, match=r"cannot load the model in .*model\.safetensors"):
        load_text_model(folder)


def test_an_adapter_beside_a_model_is_refused(folder):
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "/elsewhere"}))

    with pytest.raises(ModelError, match="merge it into the model"):
        load_text_model(folder)


ADAPTER = {"peft_type": "LORA", "r": 4}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"megatron_config": {"a": 1}, "megatron_core": "antigravity"}, "no plain LoRA"),
        ({"peft_type": "IA3"}, "no plain LoRA"),
        ({"r": 10**9}, "its rank is 1000000000, its widest tensor 16"),
        ({"r": True}, "its rank is True"),
        ({"rank_pattern": {"q_proj": 10**9}}, "its rank is 1000000000"),
    ],
)
def test_an_adapter_that_is_no_plain_one_is_refused(tmp_path, values, said):
    save_file({"a": torch.zeros(4, 16)}, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps(ADAPTER))
    assert_readable(tmp_path)
    (tmp_path / "adapter_config.json").write_text(json.dumps({**ADAPTER, **values}))

    with pytest.raises(ModelError, match=said):
        assert_readable(tmp_path)


@pytest.mark.parametrize("most", [None, True, "long", 0, -5, float("nan")])
def test_a_tokenizer_says_how_long_texts_can_be(folder, most):
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "model_max_length": most}))
    if most is None:  # transformers then knows none, and says so with a very large number
        assert load_text_model(folder).longest > 0
        return

    with pytest.raises(ModelError, match="tokenizer"):
        load_text_model(folder)


@pytest.mark.parametrize("name", ["../tokenizer.json", "/etc/passwd"])
def test_a_tokenizer_names_no_file_of_other_folders(folder, name):
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "tokenizer_file": name}))

    with pytest.raises(ModelError, match="no file of the folder"):
        load_text_model(folder)


# What lwa itself saved


@pytest.fixture
def saved(llama, tmp_path):
    save_asked(load_text_model(llama), tmp_path / "student")
    return tmp_path / "student"


def flip(file, place):
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(bytes(content))


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "generation_config.json"])
def test_a_changed_byte_is_found_out(saved, name):
    assert load_text_model(saved).task == "causal"
    flip(saved / name, -9)

    with pytest.raises(ModelError, match=f"not as it was saved: {name} is not the file that was saved"):
        load_text_model(saved)


def test_a_file_that_is_gone_or_new_is_found_out(saved):
    (saved / "adapter").mkdir()
    (saved / "adapter" / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"adapter/adapter_config\.json was put there later"):
        load_text_model(saved)
    shutil.rmtree(saved / "adapter")
    (saved / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"tokenizer\.json is missing"):
        load_text_model(saved)


@pytest.mark.parametrize(
    "values",
    [
        {"format": 3},
        {"format": None},
        {"ask": "everything"},
        {"ask": ["causal"]},
        {"pooling": 3},
        {"head": {"scale": 1.0}},
        {"head": []},
        {"files": None},
        {"files": {"model.safetensors": 3}},
        {"files": {"../llama": {"bytes": 1, "sha256": ""}}},
    ],
)
def test_a_description_that_says_something_else_is_refused(saved, values):
    file = saved / "subject.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))

    with pytest.raises(ModelError, match="student"):
        load_text_model(saved)


# Configurations as the families themselves write them


@pytest.mark.slow
def test_no_family_of_transformers_is_refused_for_its_own_configuration(tmp_path):
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    held, seen = Held((), tensors=300, numbers=10**8), 0
    for kind in list(CONFIG_MAPPING.keys()):
        try:
            config = CONFIG_MAPPING[kind]()
            config.save_pretrained(tmp_path / kind)
        except Exception:  # some need arguments
            continue
        assert_borne_out(tmp_path / kind / "config.json", read_values(tmp_path / kind), held)
        assert type(read_config(tmp_path / kind)) is type(config)
        seen += 1
    assert seen > 700
