"""What would stop a run after hours stops it before the first epoch, by name; what is well goes through."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from tiny_recipe import TEXT, computed, run, write_recipe
from tiny_texts import save_text_model, some_texts

from lwa_core import StageError
from lwa_core.pipeline.events import Bus
from lwa_core.pipeline.graph import Run
from lwa_core.pipeline.plan import make_plan
from lwa_core.recipe.reader import load_recipe
from lwa_core.store.results import Store
from lwa_core.types import RunContext

PLUGIN = '''
import attrs
from pathlib import Path
from lwa_core import Component, DepthPlan, hookimpl, setting
from lwa_plugins.recommenders.sequential import Sequential

def network(how):
    import torch
    from transformers import PretrainedConfig, PreTrainedModel
    from lwa_plugins.recommenders.sequential.model import SequentialModel

    if how == "no-embeddings":
        class Model(SequentialModel):
            def get_input_embeddings(self):
                raise NotImplementedError("no get_input_embeddings")
        return Model

    class Config(PretrainedConfig):
        model_type = "trap"

        def __init__(self, items=1, num_hidden_layers=3, max_length=None, **rest):
            super().__init__(**rest)
            self.items, self.num_hidden_layers, self.max_length = items, num_hidden_layers, max_length

    class Model(PreTrainedModel):
        config_class = Config

        def __init__(self, config):
            super().__init__(config)
            self.table = torch.nn.Embedding(config.items + 1, 8)
            self.layers = torch.nn.ModuleList(torch.nn.Linear(8, 8) for _ in range(config.num_hidden_layers))
            self.post_init()

    return Model


@attrs.frozen
class Trap(Sequential):
    """`sequential` with a trap."""

    how: str = setting("", help="which")

    def build(self, catalogue, report):
        if self.how == "whole-catalogue" and len(catalogue) < 200:
            raise ValueError("a codebook needs 200 items")
        if self.how == "max-length":
            cls = network(self.how)
            return cls(cls.config_class(items=len(catalogue), max_length=self.max_length))
        if self.how == "no-embeddings":
            return network(self.how)(super().build(catalogue, report).config)
        return super().build(catalogue, report)

    def loss(self, model, batch):
        if self.how == "max-length":
            from lwa_core import Losses
            rows = batch["labels"][:, 0]
            return Losses(sum(p.sum() for p in model.parameters()).expand(len(rows)), rows * 0 + 1)
        return super().loss(model, batch)

    def scores(self, model, batch):
        if self.how == "max-length":
            return (model.table(batch["input_ids"][:, :1]) @ model.table.weight[1:].T)[:, 0]
        return super().scores(model, batch)

    def load(self, folder):
        if self.how == "load":
            from safetensors.torch import load_file
            from lwa_core import Catalogue, Quiet
            import json
            config = json.loads((Path(folder) / "config.json").read_text())
            model = super().build(Catalogue(tuple(map(str, range(config["items"])))), Quiet())
            model.load_state_dict(load_file(Path(folder) / "model.safetensors"))
            return model.eval()
        if self.how == "no-embeddings":
            from lwa_core import load_pretrained
            return load_pretrained(network(self.how), folder)
        return super().load(folder)

    def training_windows(self, sequences):
        return [] if self.how == "no-windows" else super().training_windows(sequences)

    def example_batch(self, histories, targets=None):
        batch = super().example_batch(histories, targets)
        if self.how == "leak" and targets is not None:
            import torch
            batch["input_ids"][torch.arange(len(histories)), batch["last"]] = torch.from_numpy(targets) + 1
        return batch


@attrs.frozen
class Greedy:
    """Needs many examples."""

    def score(self, probe):
        import torch
        if probe.examples < 18:
            raise ValueError(f"only {probe.examples} examples")
        return torch.arange(probe.depth).double()[None]


@attrs.frozen
class Once:
    """Works the first time."""

    asked = []

    def score(self, probe):
        import torch
        self.asked.append(1)
        return torch.zeros(1, probe.depth) if len(self.asked) == 1 else 1 / 0


@attrs.frozen
class Deep:
    """Keeps more than there is."""

    def select(self, selection):
        return DepthPlan(selection.depth, [range(count) for count in selection.counts([9, 1])])


@attrs.frozen
class Second:
    """A step that cannot follow another one."""

    def compress(self, job):
        if job.student.depth == len(job.kept):
            raise RuntimeError("the layers are gone already")
        return job.cut().model


@hookimpl
def lwa_recommenders():
    return [Component("trap", Trap)]


@hookimpl
def lwa_scorers():
    return [Component("needs-many", Greedy), Component("once", Once)]


@hookimpl
def lwa_selectors():
    return [Component("deep", Deep)]


@hookimpl
def lwa_compressors():
    return [Component("second", Second)]
'''

SLOW = pytest.mark.slow
SCORERS = 'use = "fisher"\n\n[[score]]\nuse = "block-influence"'
LOCAL = 'plugins = ["./traps.py"]\n' + TEXT.replace(SCORERS, 'use = "random"')
TITLES = TEXT.replace('use = "sequential"', 'use = "text"\nfamily = "llama"\nheads = 2\nencoder = "no-such-folder"')
SELECT, HEAL = 'use = "greedy"\nkeep = [2, 1]', 'use = "distill"\nepochs = 2\nbatch = 32'


def tried(folder, text, store=None) -> list:
    """Carry the smoke test of a recipe out, and nothing after it. Gives the events."""
    (folder / "traps.py").write_text(PLUGIN, encoding="utf-8")
    recipe, store, events = load_recipe(write_recipe(folder, text)), Store(store or folder / "store"), []
    bus = Bus(recipe.registry, RunContext("tiny", folder), [lambda event, _: events.append(event)])
    Run(recipe, store, bus).path(make_plan(recipe).smoke)
    return events


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store that all recipes of this file prepare their data in once."""
    return tmp_path_factory.mktemp("smoke") / "store"


def trap(how: str) -> str:
    return LOCAL.replace('use = "sequential"', f'use = "trap"\nhow = "{how}"')


@pytest.mark.parametrize(
    ("text", "at", "said"),
    [
        (trap("max-length"), 'use = "trap"', "recommender 'trap' of local file .*max_length"),
        (trap("no-embeddings"), 'use = "drop"', "compressor 'drop' .*no get_input_embeddings"),
        (trap("load"), 'use = "drop"', "recommender 'trap' cannot load the model .*Missing key"),
        pytest.param(trap("leak"), 'use = "trap"', "'trap' .*know the target", marks=SLOW),
        (TITLES, 'use = "text"', "recommender 'text' .*no-such-folder: config.json is missing"),
        pytest.param(trap("no-windows"), 'use = "trap"', "`training_windows` .* gave no windows", marks=SLOW),
        pytest.param(
            LOCAL.replace(SELECT, 'use = "deep"'), 'use = "deep"', "cannot keep 9 of 3", marks=pytest.mark.slow
        ),
        pytest.param(
            LOCAL.replace(HEAL, 'use = "second"'), 'use = "second"', "'second' .*gone", marks=pytest.mark.slow
        ),
    ],
    ids=["max_length", "no embeddings", "load", "leak", "encoder", "no windows", "keep", "second step"],
)
def test_what_would_stop_the_run_late_stops_it_at_once(tmp_path, store, text, at, said):
    with pytest.raises(StageError, match=f"(?s)smoke test .*{said}") as caught:
        tried(tmp_path, text, store)
    line = text.splitlines().index(at)  # the table's header stands a line above
    assert f"tiny.toml:{line})" in caught.value.message
    assert "nothing was trained or scored yet" in caught.value.hint


def test_titles_that_the_data_lacks_are_missed_at_once(tmp_path):
    events = "".join(f"u{u},i{(u * 7 + n * n) % 40},{n}\n" for u in range(60) for n in range(8))
    (tmp_path / "events.csv").write_text("user,item,timestamp\n" + events, encoding="utf-8")
    made_up = 'use = "synthetic"\nusers = 120\nitems = 220\nmean_length = 12'
    with pytest.raises(StageError, match=r"smoke test .*recommender 'text' .*no item has a title"):
        tried(tmp_path, TITLES.replace(made_up, 'use = "table"\npath = "events.csv"'))


@pytest.mark.parametrize("how", ["whole-catalogue", pytest.param("", marks=SLOW)])
def test_what_needs_more_than_a_few_rows_gets_them_before_it_is_refused(tmp_path, store, how):
    text = trap(how).replace('use = "random"', 'use = "needs-many"')
    assert {"smoke test"} <= set(computed(tried(tmp_path, text, store)))
    with pytest.raises(StageError, match=r"smoke test .*scorer 'needs-many' .*only 17 examples"):
        tried(tmp_path, f"{text}\n[calibration]\nexamples = 17\n", store)


def test_a_run_tries_first_and_a_rerun_tries_nothing(tmp_path):
    (tmp_path / "traps.py").write_text(PLUGIN, encoding="utf-8")
    short = LOCAL.partition("[[score]]")[0] + '[[score]]\nuse = "random"\n[evaluate]\nrequests = 0\nmemory = false\n'
    folder, events = run(tmp_path, tmp_path / "store", text=short, smoke_test=True)
    assert ["data", "smoke test", "teacher"] == computed(events)[:3]

    again, events = run(tmp_path, tmp_path / "store", text=short, smoke_test=True)
    assert ([], folder) == (computed(events), again)

    (tried_once,) = (tmp_path / "store" / "results" / "smoke-test").iterdir()
    for file in tried_once.iterdir():
        file.unlink()
    tried_once.rmdir()
    _, events = run(tmp_path, tmp_path / "store", text=short, smoke_test=True)
    assert [] == computed(events)  # all that follows is stored
    assert "smoke test" not in {event.stage for event in events}

    plan = [sys.executable, "-c", "from lwa_core.cli import main; import sys, atexit; "
            "atexit.register(lambda: print('torch' in sys.modules)); main()", "plan", str(tmp_path / "tiny.toml"),
            "--store", str(tmp_path / "store"), "--json"]  # fmt: skip
    done = subprocess.run(plan, capture_output=True, text=True, check=True)
    assert "False" == done.stdout.splitlines()[-1]


@pytest.mark.slow
def test_a_stage_that_fails_after_all_says_where_to_go_on(tmp_path):
    (tmp_path / "traps.py").write_text(PLUGIN, encoding="utf-8")
    text = LOCAL.replace('use = "random"', 'use = "once"').partition("[select]")[0]
    with pytest.raises(StageError, match=r"stage 'score once' .*ZeroDivisionError") as caught:
        run(tmp_path, tmp_path / "store", text=text, smoke_test=True)
    assert "the same command goes on from there" in caught.value.hint


def test_models_of_texts_are_tried_as_they_are(tmp_path):
    save_text_model("gpt2", tmp_path / "model")
    (tmp_path / "texts.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in some_texts(60)))
    text = """\
name = "texts"
task = "text"
plugins = ["./traps.py"]
[texts]
path = "texts.jsonl"
[model]
path = "model"
[[score]]
use = "shapley"
[select]
use = "exact"
keep = 2
[[compress]]
use = "fine-tune"
[[compress]]
use = "second"
"""
    assert ["texts", "teacher"] == computed(tried(tmp_path, text.partition("[[compress]]")[0]))[:2]
    with pytest.raises(StageError, match=r"smoke test .*compressor 'second' .*the layers are gone already"):
        tried(tmp_path, text)
    with pytest.raises(StageError, match=r"smoke test .*no texts to train on"):
        tried(tmp_path, text.replace('"texts.jsonl"', '"texts.jsonl"\nvalidation = 0.0\ncalibration = 0.8'))
