"""Recipes of texts, whole: what they leave, and figures beside the model's own forward pass, one text at a time."""

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from sklearn.linear_model import LogisticRegression
from tiny_texts import MODELS, SIZES, WORDS, save_text_model, save_tokenizer

from lwa_core import LwaError, StageError
from lwa_core.pipeline.run import run_recipe
from lwa_core.recipe.reader import load_recipe
from lwa_core.results.reading import read_results
from lwa_core.store.results import Store
from lwa_core.text.loading import load_text_model
from lwa_core.text.parts import load_texts

RECIPE = """\
name = "texts"
task = "text"

[texts]
path = "texts.jsonl"
{texts}

[model]
path = "model"
{model}

[[score]]
use = "leave-one-out"

[[score]]
use = "block-influence"

[calibration]
batch = 8

[select]
use = "greedy"
keep = 2

{compress}

[evaluate]
bootstrap = 200
requests = 4
batch = 8
memory = false
"""
UNTRAINED = '[[compress]]\nuse = "{}"\n'
HEALED = '[[compress]]\nuse = "drop"\n\n[[compress]]\nuse = "{}"\nepochs = 1\nbatch = 8\n'


def chain(rng):
    """A text in which each word says something of the next."""
    words = [int(rng.integers(40))]
    while len(words) < rng.integers(6, 12):
        words.append((3 * words[-1] + int(rng.integers(3))) % 40)
    return words


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("texts"), np.random.default_rng(0)
    rows = []
    for _ in range(120):
        words = chain(rng)
        text, pair = (" ".join(WORDS[w] for w in some) for some in (words, words[::-1][:6]))
        rows.append({"text": text, "label": words[0] % 3, "pair": pair, "alike": float(rng.random())})
    (folder / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    others = [{"text": " ".join(rng.choice(WORDS, 8)), "label": 0} for _ in range(20)]
    (folder / "other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in others), "utf-8")
    return folder


def run(texts, folder, save, *, settings="", model="", compress="", **how):
    """Run the recipe with the model that `save` leaves. Gives results and the store's texts."""
    for name in ("texts.jsonl", "other.jsonl"):
        (folder / name).write_bytes((texts / name).read_bytes())
    if not (folder / "model").exists():
        save(folder / "model")
    (folder / "texts.toml").write_text(RECIPE.format(texts=settings, model=model, compress=compress), "utf-8")
    store = Store(folder / "store")
    done = run_recipe(load_recipe(folder / "texts.toml", how.get("overrides", ())), store, smoke_test=False)
    (data,) = (folder / "store" / "results" / "texts").iterdir()
    return done, read_results(done), load_texts(data)


def figures(results, name):
    return {m: f.mean for m, f in next(x for x in results.models if x.name == name).metrics.items() if f is not None}


def save(name):
    return lambda folder: save_text_model(name, folder)


def tied_llama(folder):
    sizes = {**SIZES, "num_attention_heads": 2, "num_key_value_heads": 1, "tie_word_embeddings": True}
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes)).save_pretrained(folder)
    save_tokenizer(folder, specials=False)


# Figures beside a naive loop


@pytest.mark.parametrize("saved", [save("llama"), save("gpt2"), tied_llama], ids=["llama", "gpt2", "tied"])
def test_perplexity_is_that_of_whole_texts_one_by_one(texts, tmp_path, saved):
    done, results, data = run(
        texts, tmp_path, saved, settings='other = "other.jsonl"\nlength = 24', compress=HEALED.format("distill")
    )
    for name in ("teacher", "drop-2", "distill-2"):
        folder = done / "models" / name
        model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        expected = {}
        for metric, part in (("perplexity", data["test"]), ("perplexity_other", data.other)):
            total = count = 0
            for text in part:
                ids = torch.tensor([tokenizer(text.text)["input_ids"]])
                with torch.no_grad():
                    total += float(model(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)
                count += ids.shape[1] - 1
            expected[metric] = math.exp(total / count)
        assert expected == pytest.approx(figures(results, name), rel=1e-4)


@pytest.mark.parametrize("kind", ["llama", "bert-classifier"])
def test_steps_that_train_nothing_leave_models_that_are_measured(texts, tmp_path, kind):
    steps = "".join(map(UNTRAINED.format, ["width", "patch", "quantise"])).replace('"width"', '"width"\nexamples = 32')

    _, results, _ = run(texts, tmp_path, save(kind), compress=UNTRAINED.format("drop") + steps)

    names = [model.name for model in results.models]
    assert ["drop-2", "width-2", "patch-2", "quantise-2"] == [name for name in names if name.endswith("-2")]
    for name in ("patch-2", "width-2", "quantise-2"):
        assert figures(results, name) != figures(results, "drop-2")


def test_accuracy_is_the_share_of_right_classes(texts, tmp_path):
    done, results, data = run(texts, tmp_path, save("bert-classifier"), compress=HEALED.format("fine-tune"))
    for name in ("teacher", "drop-2", "fine-tune-2"):
        model = transformers.AutoModelForSequenceClassification.from_pretrained(done / "models" / name).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(done / "models" / name)
        right = []
        for text in data["test"]:
            with torch.no_grad():
                ids = torch.tensor([tokenizer(text.text)["input_ids"]])
                right.append(int(model(input_ids=ids).logits.argmax()) == text.label)
        assert figures(results, name)["accuracy"] == pytest.approx(np.mean(right))
    labels = [text.label for text in data["train"]]
    most = max(set(labels), key=labels.count)
    expected = np.mean([text.label == most for text in data["test"]])
    assert figures(results, "majority")["accuracy"] == pytest.approx(expected)


def test_a_masked_model_is_asked_for_single_tokens(texts, tmp_path):
    _, results, _ = run(texts, tmp_path, save("bert"), compress=HEALED.format("distill"))
    assert {"perplexity"} == set(figures(results, "teacher"))
    assert 1 < figures(results, "distill-2")["perplexity"] < 10_000


def bare_bert(folder):
    config = {**SIZES, "num_attention_heads": 2, "max_position_embeddings": 32, "pad_token_id": 0}
    torch.manual_seed(0)
    model = transformers.BertModel(transformers.BertConfig(**config))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    save_tokenizer(folder, specials=True)


def vectors_of(folder, texts):
    """Means of the states of each text, one at a time, of length 1."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    made = []
    for text in texts:
        with torch.no_grad():
            states = model(input_ids=torch.tensor([tokenizer(text)["input_ids"]])).last_hidden_state[0]
        made.append(F.normalize(states.mean(dim=0), dim=0).numpy())
    return np.stack(made)


def test_retrieval_is_by_cosines_in_the_full_models_index_and_in_its_own(texts, tmp_path):
    done, results, data = run(texts, tmp_path, bare_bert, settings='pair = "pair"', compress=HEALED.format("distill"))
    index = vectors_of(done / "models" / "teacher", data.corpus)
    answers = [data.corpus.index(text.pair) for text in data["test"]]
    for name in ("teacher", "drop-2", "distill-2"):
        queries = vectors_of(done / "models" / name, [text.text for text in data["test"]])
        own = vectors_of(done / "models" / name, data.corpus)
        told = figures(results, name)
        for table, after in ((index, ""), (own, "_own_index")):
            scores = queries @ table.T
            ranks = [1 + int((row > row[a] + 1e-6).sum()) for row, a in zip(scores, answers, strict=True)]
            assert told[f"recall@10{after}"] == pytest.approx(np.mean([rank <= 10 for rank in ranks]), abs=0.05)
            expected = np.mean([1 / math.log2(1 + rank) if rank <= 10 else 0 for rank in ranks])
            assert told[f"ndcg@10{after}"] == pytest.approx(expected, abs=0.02)
    assert "tf-idf" in [model.name for model in results.models]


def test_the_utility_ndcg_of_an_encoder_is_the_ndcg_in_the_fixed_index(texts, tmp_path):
    """The same texts as calibration and, here only, as test texts."""
    from lwa_core.pipeline.task import make_probe
    from lwa_core.statistics.rank_metrics import ndcg
    from lwa_core.text.quality import Measuring
    from lwa_core.types import Quiet

    plan, recipe, run_of = planned(texts, tmp_path, bare_bert, 'pair = "pair"', "evaluate.k=[1, 4]")
    data, live = run_of.value(plan.data), run_of.value(plan.teacher).live
    probe = make_probe(plan.task, data, live, Quiet())
    for kept, values in zip(probe.subsets(), probe.evaluate(probe.subsets(), "ndcg"), strict=True):
        with live.layered.skipping(kept):
            found = Measuring(live.subject, data, 128, 8, recipe.seed, None).of(data["calibration"])
        assert ndcg(found["ranks"], 4, found["tied"]).mean() == pytest.approx(values.mean(), abs=1e-6)


@pytest.mark.parametrize(
    ("override", "who"),
    [("calibration.utility=ndcg", "calibration"), ("score.leave-one-out.utility=ndcg", "scorer 'leave-one-out'")],
)
def test_a_model_whose_report_has_no_ndcg_is_not_scored_by_one(texts, tmp_path, override, who):
    with pytest.raises(LwaError, match=f"{who} has the utility 'ndcg', and .* ask = 'causal' has no NDCG"):
        planned(texts, tmp_path, save("gpt2"), "", override)


def planned(texts, folder, save, settings, *overrides):
    """The plan of the recipe, and what carries it out."""
    from lwa_core.pipeline.events import Bus
    from lwa_core.pipeline.graph import Run
    from lwa_core.pipeline.plan import make_plan
    from lwa_core.types import RunContext

    (folder / "texts.jsonl").write_bytes((texts / "texts.jsonl").read_bytes())
    save(folder / "model")
    (folder / "texts.toml").write_text(RECIPE.format(texts=settings, model="", compress=""), "utf-8")
    recipe = load_recipe(folder / "texts.toml", overrides)
    bus = Bus(recipe.registry, RunContext("texts", folder), ())
    return make_plan(recipe), recipe, Run(recipe, Store(folder / "store"), bus)


def test_scored_pairs_are_measured_by_the_correlation_of_their_cosines(texts, tmp_path):
    from scipy.stats import spearmanr

    done, results, data = run(texts, tmp_path, bare_bert, settings='pair = "pair"\nscore = "alike"')
    one, other = (
        vectors_of(done / "models" / "teacher", [getattr(t, s) for t in data["test"]]) for s in ("text", "pair")
    )
    expected = spearmanr((one * other).sum(axis=1), [text.score for text in data["test"]])[0]
    assert results.headline == "spearman"
    assert figures(results, "teacher")["spearman"] == pytest.approx(expected, abs=1e-3)


def test_a_bare_encoder_gets_a_head_that_is_fitted_to_the_training_texts(texts, tmp_path):
    done, results, data = run(texts, tmp_path, bare_bert, model='ask = "classify"', compress=HEALED.format("fine-tune"))
    train, test = (vectors_of(done / "models" / "teacher", [t.text for t in data[part]]) for part in ("train", "test"))
    fitted = LogisticRegression(max_iter=2000).fit(train, [text.label for text in data["train"]])
    right = fitted.predict(test) == [text.label for text in data["test"]]
    assert figures(results, "teacher")["accuracy"] == pytest.approx(right.mean(), abs=0.05)


# Parts, and what cannot be


def test_no_text_is_in_two_parts_and_equal_texts_are_in_one(texts, tmp_path):
    rows = (texts / "texts.jsonl").read_text("utf-8").splitlines()
    (tmp_path / "twice").mkdir()
    (tmp_path / "twice" / "texts.jsonl").write_text("\n".join(rows + rows[:40]) + "\n", "utf-8")
    (tmp_path / "twice" / "other.jsonl").write_bytes((texts / "other.jsonl").read_bytes())
    _, _, data = run(tmp_path / "twice", tmp_path, save("gpt2"))
    seen = [{text.text for text in part} for part in data.parts.values()]
    assert sum(map(len, seen)) == len(set().union(*seen))
    assert data.size == len(rows) + 40


def test_a_rerun_makes_nothing_again(texts, tmp_path):
    control = ("evaluate.control=true",)
    done, results, _ = run(texts, tmp_path, save("gpt2"), compress=HEALED.format("fine-tune"), overrides=control)
    before = (done / "metrics.json").read_bytes()
    events = []
    recipe = load_recipe(tmp_path / "texts.toml", control)
    run_recipe(recipe, Store(tmp_path / "store"), [lambda event, _: events.append(event.kind)])
    assert "stage-finished" not in events
    assert before == (done / "metrics.json").read_bytes()
    held = {model.name: model.control and model.control.name for model in results.models if model.kind == "student"}
    assert {"drop-2": None, "fine-tune-2": "teacher+fine-tune"} == held
    longer, teacher = figures(results, "teacher+fine-tune"), figures(results, "teacher")
    assert longer["perplexity"] < teacher["perplexity"]  # its weights are random
    share = figures(results, "fine-tune-2")["perplexity"] / longer["perplexity"]
    (student,) = [model for model in results.models if model.name == "fine-tune-2"]
    assert share == pytest.approx(student.control.kept["perplexity"].mean)


def test_healing_needs_texts_to_train_on(texts, tmp_path):
    settings = "validation = 0.2\ncalibration = 0.4\ntest = 0.4"
    with pytest.raises(StageError, match="no texts to train on"):
        run(texts, tmp_path, save("gpt2"), settings=settings, compress=HEALED.format("distill"))


def test_a_student_is_loaded_as_it_was_saved(texts, tmp_path):
    done, _, _ = run(texts, tmp_path, bare_bert, settings='pair = "pair"', compress=HEALED.format("distill"))
    loaded = load_text_model(done / "models" / "distill-2")
    assert "encode" == loaded.task
    assert loaded.head_of_ours is not None
    assert torch.equal(
        loaded.answer(["w1 w2"], 16), load_text_model(done / "models" / "distill-2").answer(["w1 w2"], 16)
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in MODELS if name != "gemma4"])  # of which no layer can be removed
def test_every_kind_of_model_goes_from_recipe_to_report(texts, tmp_path, name):
    from lwa_core.report import write_report

    done, results, _ = run(texts, tmp_path, save(name), compress=HEALED.format("distill"))
    assert ["teacher", "drop-2", "distill-2"] == [m.name for m in results.models if m.kind != "baseline"]
    assert all(path.stat().st_size for path in write_report(done))
