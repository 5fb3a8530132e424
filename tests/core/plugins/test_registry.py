from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lwa_core.errors import PluginError
from lwa_core.plugins.hooks import Component
from lwa_core.plugins.registry import AmbiguousComponentError, BrokenComponentError, Registry, UnknownComponentError

SITES = Path(__file__).parents[2] / "plugins"


@pytest.fixture
def install(monkeypatch):
    """Puts fixture distributions on the path, as if they were installed."""
    monkeypatch.delenv("LWA_BLOCK", raising=False)

    def installed(*names: str, **options: object) -> Registry:
        for name in names:
            monkeypatch.syspath_prepend(SITES / name)
        return Registry.discover(**options)

    return installed


def health(registry: Registry) -> dict[str, tuple[str, str | None]]:
    return {info.name: (info.status, info.error) for info in registry.plugins}


def test_the_built_ins_come_in_like_any_plugin(install):
    registry = install()
    (info,) = [info for info in registry.plugins if info.name == "lwa-builtins"]
    assert ("lwa", "ok", None) == (info.distribution, info.status, info.digest)
    assert "synthetic" in [offer.name for offer in registry.components("dataset")]


def test_a_third_party_plugin_offers_components_of_every_kind(install):
    registry = install("good")
    offered = [(offer.kind, offer.name) for offer in registry.offers if offer.provider.name == "lwa-orchard"]
    expected = [
        ("dataset", "ledger"),
        ("recommender", "tower"),
        ("scorer", "pick"),
        ("scorer", "taste"),
        ("selector", "prune"),
        ("compressor", "press"),
        ("compressor", "press-onnx"),
    ]
    assert expected == offered


def test_a_component_is_loaded_by_class_and_by_name(install):
    registry = install("good")
    classes = [registry.find("scorer", name).load() for name in ("pick", "taste")]
    assert ["Pick", "Pick"] == [cls.__name__ for cls in classes]
    assert classes[0] is classes[1]


def test_each_broken_plugin_is_named_with_its_reason_and_hides_no_other(install):
    registry = install("broken", "good")
    told = health(registry)
    expected = {
        "lwa-raises": "ModuleNotFoundError: No module named 'no_such_module_anywhere'",
        "lwa-exits": "SystemExit: 3",
        "lwa-unknown-hook": ("TypeError: it implements 'lwa_scores', which is no hook; did you mean 'lwa_scorers'?"),
        "lwa-hook-raises": "RuntimeError: no idea",
        "lwa-no-component": "TypeError: lwa_scorers gave 'pick', which is no Component",
        "lwa-bad-name": "ValueError: 'Pick:Me' is no name: lower-case words joined by '-'",
        "lwa-twice": "ValueError: lwa_scorers offers 'pick' twice",
    }
    assert {name: ("broken", error) for name, error in expected.items()} == {name: told[name] for name in expected}
    status, error = told["lwa-unknown-argument"]
    assert ("broken", True) == (status, "'model'" in str(error))
    assert {"lwa-broken 0.1"} == {
        f"{info.distribution} {info.version}" for info in registry.plugins if info.status == "broken"
    }
    assert ("ok", None) == told["lwa-orchard"]
    assert "pick" == registry.find("scorer", "pick").name


def test_a_broken_plugin_is_never_registered(install):
    registry = install("broken")
    assert ["lwa:lwa-builtins"] == [name for name, plugin in registry.manager.list_name_plugin() if plugin]


def test_a_plugin_for_another_api_is_listed_and_never_imported(install):
    registry = install("other_api", "good")
    expected = ("other-api", "made for lwa.v2; this version of lwa asks lwa.v1")
    assert expected == health(registry)["lwa-tomorrow"]
    assert "lwa_tomorrow" not in sys.modules


@pytest.mark.parametrize("name", ["lwa-orchard", "LWA_Orchard"])
def test_a_blocked_plugin_is_listed_and_not_asked(install, name):
    registry = install("good", block=[name])
    assert "blocked" == health(registry)["lwa-orchard"][0]
    with pytest.raises(UnknownComponentError, match=r"lwa-orchard of lwa-orchard 1\.2\.0 is blocked"):
        registry.find("recommender", "tower")


def test_plugins_are_blocked_by_the_environment(install, monkeypatch):
    install("good", "broken")
    monkeypatch.setenv("LWA_BLOCK", "lwa-orchard, lwa-broken,")
    told = health(Registry.discover())
    assert {"lwa-builtins"} == {name for name, (status, _) in told.items() if status == "ok"}
    assert {"blocked"} == {status for name, (status, _) in told.items() if name != "lwa-builtins"}


def test_two_components_of_one_name_are_an_error_that_names_both(install):
    registry = install("good", "duplicate")
    with pytest.raises(AmbiguousComponentError) as caught:
        registry.find("scorer", "pick")
    expected = (
        "2 scorers are called 'pick': plugin lwa-cider of lwa-cider 0.3 and plugin lwa-orchard of lwa-orchard 1.2.0"
    )
    assert expected == caught.value.message
    assert 'write use = "lwa-cider:pick" or use = "lwa-orchard:pick"' == caught.value.hint


def test_the_provider_decides_between_two(install):
    registry = install("good", "duplicate")
    found = [registry.find("scorer", f"{provider}:pick") for provider in ("lwa-cider", "lwa_orchard")]
    assert ["lwa-cider", "lwa-orchard"] == [offer.provider.name for offer in found]


@pytest.mark.parametrize(
    ("kind", "name", "message", "hint"),
    [
        ("scorer", "pikc", "no scorer is called 'pikc'", "did you mean 'pick'?"),
        ("scorer", "prune", "no scorer is called 'prune'", "'prune' is a selector"),
        (
            "selector",
            "lwa-pear:prune",
            "no selector is called 'lwa-pear:prune'",
            "'prune' is offered by plugin lwa-orchard",
        ),
        ("recommender", "qqq", "no recommender is called 'qqq'", "there are: backbone, sequential, text, tower"),
    ],
)
def test_unknown_names(install, kind, name, message, hint):
    with pytest.raises(UnknownComponentError) as caught:
        install("good").find(kind, name)
    assert (message, True) == (caught.value.message, str(caught.value.hint).startswith(hint))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no-module", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("no-class", "AttributeError: module 'lwa_unusable' has no attribute 'Missing'"),
        ("no-attrs", "TypeError: Plain is no attrs class"),
        ("a-function", "TypeError: its target is a function, no class"),
        ("bad-type", "TypeError: no setting can have the type complex"),
    ],
)
def test_a_class_that_cannot_be_used(install, name, reason):
    offer = install("unusable").find("scorer", name)
    with pytest.raises(BrokenComponentError) as caught:
        offer.load()
    assert (
        f"scorer '{name}' of plugin lwa-unusable of lwa-unusable 0.2 cannot be used: {reason}" == caught.value.message
    )


def test_all_plugin_errors_exit_alike():
    for error in (UnknownComponentError, AmbiguousComponentError, BrokenComponentError):
        assert PluginError.exit_code == error("x").exit_code


def test_what_a_component_lacks(install):
    registry = install("good")
    offers = {offer.name: offer.component for offer in registry.components("compressor")}
    assert [] == registry.lacking(offers["press"])
    assert ["abacus", "extra:onnx", "extra:unheard"] == registry.lacking(offers["press-onnx"])


def test_a_machine_that_shows_no_device_lacks_cuda(install, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert ["cuda"] == install().lacking(Component("gpu-only", object, needs={"cuda"}))


def test_local_files(tmp_path, install):
    sound = tmp_path / "sound.py"
    sound.write_text((SITES / "duplicate" / "lwa_cider.py").read_text())
    broken = tmp_path / "broken.py"
    broken.write_text("def (")
    registry = install(local=[sound, broken, tmp_path / "gone.py"])
    told = health(registry)
    assert [("ok", None), "broken", "broken"] == [told["sound"], told["broken"][0], told["gone"][0]]
    assert str(told["broken"][1]).startswith("SyntaxError")
    assert "cannot be read: No such file or directory" == told["gone"][1]
    offer = registry.find("scorer", "sound:pick")
    assert (sound, 64, "Pick") == (offer.provider.file, len(str(offer.provider.digest)), offer.load().__name__)


def test_forbidden_local_files_are_not_run(tmp_path, install):
    file = tmp_path / "mine.py"
    file.write_text("raise AssertionError('was run')")
    assert ("blocked", "local plugins are forbidden") == health(install(local=[file], allow_local=False))["mine"]


def test_damaged_metadata_of_one_distribution_does_no_harm(tmp_path, monkeypatch):
    folder = tmp_path / "lwa_headless-1.dist-info"
    folder.mkdir()
    (folder / "entry_points.txt").write_text("[lwa.v1]\nlwa-headless = no_such_module_anywhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry.discover()
    (info,) = [info for info in registry.plugins if info.name == "lwa-headless"]
    assert "broken" == info.status
    assert "synthetic" == registry.find("dataset", "synthetic").name
