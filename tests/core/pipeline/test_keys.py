"""What a key says of a component: an installed one whose code changed never gets results of before."""

import importlib
import sys
from pathlib import Path

import attrs
import pytest
from tiny_recipe import TEXT, write_recipe

from lwa_core.pipeline.keys import changed_digest, code_digest, component_facts, path_digests
from lwa_core.pipeline.plan import make_plan
from lwa_core.plugins import code
from lwa_core.plugins.registry import Registry
from lwa_core.recipe.reader import load_recipe
from lwa_core.store.files import file_digest

PLUGIN = """\
from lwa_core import Component, hookimpl

@hookimpl
def lwa_scorers():
    return [Component("gini", "gini_lwa.scorer:Gini", version=3)]
"""
SCORER = """\
import attrs
from gini_lwa import _sums

@attrs.frozen
class Gini:
    def score(self, probe):
        return _sums.total(probe)
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A distribution `gini-lwa` with the package `gini_lwa`, as if it were installed in the editable way."""
    folder = tmp_path / "site"
    package, facts = folder / "gini_lwa", folder / "gini_lwa-1.0.dist-info"
    for place in (package / "deep", facts):
        place.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: gini-lwa\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[lwa.v1]\ngini-lwa = gini_lwa\n")
    (package / "__init__.py").write_text(PLUGIN)
    (package / "scorer.py").write_text(SCORER)
    (package / "_sums.py").write_text("def total(probe): ...\n")
    (package / "deep" / "__init__.py").write_text("")
    (package / "notes.md").write_text("# Notes\n")
    monkeypatch.syspath_prepend(folder)
    yield package
    code._package_digest.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "gini_lwa"]:
        del sys.modules[name]


def found():
    """The offer, and the digest of its code, as a fresh process has them."""
    code._package_digest.cache_clear()
    importlib.invalidate_caches()
    offer = Registry.discover().find("scorer", "gini")
    return offer, code_digest(offer)


@pytest.mark.parametrize(
    "change",
    [
        lambda package: (package / "scorer.py").write_text(SCORER + "\n# faster\n"),
        lambda package: (package / "_sums.py").write_text("def total(probe): return 1\n"),
        lambda package: (package / "deep" / "__init__.py").write_text("import math\n"),
        lambda package: (package / "deep" / "more.py").write_text(""),
        lambda package: (package / "_sums.py").rename(package / "deep" / "_sums.py"),
        lambda package: (package / "_sums.py").rename(package / "_sum.py"),
        lambda package: (package / "_sums.py").unlink(),
    ],
    ids=["its module", "another module", "one below", "a new one", "a moved one", "a renamed one", "one less"],
)
def test_an_installed_package_whose_files_changed_gets_another_digest(site, change):
    offer, before = found()

    change(site)
    again, after = found()

    assert before is not None
    assert (offer.provider, offer.component.version) == (again.provider, again.component.version)
    assert before != after


@pytest.mark.parametrize("beside", ["deep/table.json", "_fast.so"])
def test_files_that_code_reads_are_part_of_it(site, beside):
    before = found()[1]

    (site / beside).write_bytes(b"1 2 3")

    assert before != found()[1]


def test_other_modules_that_nobody_installed_are_part_of_it(site, tmp_path, monkeypatch):
    """As of an editable install whose package needs a second one beside it, imported where it is used."""
    (site / "_sums.py").write_text("def total(probe):\n    from beside_lwa.deep import add\n    return add(probe)\n")
    beside = site.parent / "beside_lwa"
    beside.mkdir()
    (beside / "__init__.py").write_text("")
    (beside / "deep.py").write_text("import helper_lwa as h, math\nadd = sum\n")
    (site.parent / "helper_lwa.py").write_text("x = 1\n")
    digests = [found()[1]]

    (beside / "deep.py").write_text("import helper_lwa as h, math\nadd = max\n")
    digests.append(found()[1])
    (site.parent / "helper_lwa.py").write_text("x = 22\n")
    digests.append(found()[1])

    assert 3 == len(set(digests))


def test_files_that_changed_after_they_were_imported_get_a_digest_that_no_other_process_has(site):
    """What runs is the code of before: its results must not be taken for those of the code that lies there now."""
    offer, before = found()
    importlib.import_module("gini_lwa")
    code_digest(offer)

    (site / "_sums.py").write_text("def total(probe): return 1\n")
    mixed = found()[1]
    del sys.modules["gini_lwa"]
    code._first.clear()
    fresh = found()[1]

    assert 3 == len({before, mixed, fresh})


def test_what_is_no_code_changes_nothing(site):
    before = found()[1]
    (site / "notes.md").write_text("# Other notes\n")
    (site / "__pycache__").mkdir()
    (site / "__pycache__" / "scorer.cpython-311.pyc").write_bytes(b"anything")
    (site / "scorer.py").touch()

    assert before == found()[1]


def test_a_plugin_of_one_module_has_a_digest_too(tmp_path, monkeypatch, site):
    (tmp_path / "alone_lwa.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    offer, _ = found()
    alone = attrs.evolve(offer, component=attrs.evolve(offer.component, target="alone_lwa:Gini"))
    digests = [code_digest(alone)]
    for text in ("x = 2\n", "x = 1\n"):
        (tmp_path / "alone_lwa.py").write_text(text)
        code._package_digest.cache_clear()
        digests.append(code_digest(alone))

    assert None not in digests
    assert digests[0] == digests[2] != digests[1]


def test_the_stage_of_such_a_component_gets_another_key_and_those_of_others_keep_theirs(site, tmp_path):
    def of_stages():
        found()
        recipe = load_recipe(write_recipe(tmp_path, TEXT.replace('use = "block-influence"', 'use = "gini"')))
        return {stage.name: stage.key for stage in make_plan(recipe).stages}

    before = of_stages()
    (site / "_sums.py").write_text("def total(probe): return 1\n")
    after = of_stages()

    # What is selected follows the scores of all scorers.
    assert {"score gini", "select"} == {name for name in before if before[name] != after[name]}


def test_a_component_of_ours_whose_files_are_not_those_that_were_installed_has_another_key(tmp_path, monkeypatch):
    use = load_recipe(write_recipe(tmp_path)).scorers[0]
    module = use.offer.component.target.partition(":")[0]
    files = code._ours(module)
    installed = {str(file): file_digest(file) for file in files}
    monkeypatch.setattr(code, "_recorded", lambda name: installed)
    as_installed = component_facts(use)
    monkeypatch.setattr(code, "_recorded", lambda name: {**installed, str(files[-1]): "0" * 64})

    assert Path(*module.split(".")).with_suffix(".py") in [Path(*file.parts[-3:]) for file in files]
    assert "changed" not in as_installed
    assert {**as_installed, "changed": changed_digest(use.offer)} == component_facts(use)
    assert changed_digest(use.offer) is not None


def test_a_component_of_ours_is_known_by_its_version(tmp_path):
    use = load_recipe(write_recipe(tmp_path)).scorers[0]

    assert ("lwa", None) == (use.offer.provider.distribution, code_digest(use.offer))
    assert use.offer.component.version == component_facts(use)["version"]


LOCAL = """\
import attrs
from lwa_core import Component, hookimpl

@attrs.frozen
class Gini:
    def score(self, probe): ...

@hookimpl
def lwa_scorers():
    return [Component("gini", Gini)]
"""


def test_a_local_file_is_known_by_its_content(tmp_path):
    text = 'plugins = ["./mine.py"]\n' + TEXT.replace('use = "block-influence"', 'use = "gini"')
    digests = []
    for source in (LOCAL, LOCAL + "# faster\n", LOCAL):
        (tmp_path / "mine.py").write_text(source)
        digests.append(code_digest(load_recipe(write_recipe(tmp_path, text)).scorers[1].offer))

    assert None not in digests
    assert digests[0] == digests[2] != digests[1]


def test_a_local_file_is_known_by_the_modules_beside_it_too(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    helped = LOCAL.replace("def score(self, probe): ...", "def score(self, probe):\n        import helper_of_mine")
    text = 'plugins = ["./mine.py"]\n' + TEXT.replace('use = "block-influence"', 'use = "gini"')
    (tmp_path / "mine.py").write_text(helped)
    digests = []
    for number in (1, 22, 1):
        (tmp_path / "helper_of_mine.py").write_text(f"x = {number}\n")
        importlib.invalidate_caches()
        digests.append(code_digest(load_recipe(write_recipe(tmp_path, text)).scorers[1].offer))

    assert digests[0] == digests[2] != digests[1]


def test_a_path_is_known_by_what_lies_there(tmp_path):
    folder, file = tmp_path / "folder", tmp_path / "file"
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "a").write_text("1")
    file.write_text("1")
    moved = folder.rename(tmp_path / "moved")

    digests = path_digests([moved, str(file), tmp_path / "gone"])

    assert [{"below/a": digests[1]}, digests[1], "missing"] == digests
    (moved / "below" / "a").write_text("2")
    assert digests[0] != path_digests(moved)
