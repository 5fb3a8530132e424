"""`lwa plugins`: what is installed, how it is, and what can be set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lwa_core.cli._options import block_option, example, json_option
from lwa_core.cli._table import print_table
from lwa_core.cli._terminal import echo, print_json, say

if TYPE_CHECKING:
    from lwa_core.plugins.registry import Offer, PluginInfo, Registry


@click.group(
    epilog=example("  lwa plugins list\n  lwa plugins show fisher\n  lwa plugins show random --kind selector --json")
)
def command() -> None:
    """List plugins, or show what a component can be set to."""


@command.command("list", epilog=example("  lwa plugins list\n  lwa plugins list --json"))
@block_option
@json_option
def list_(block: tuple[str, ...], as_json: bool) -> None:
    """List every component by kind, and every plugin with its health."""
    from lwa_core.plugins.hooks import KINDS
    from lwa_core.plugins.registry import Registry

    registry = Registry.discover(block=block)
    offers = [offer for kind in KINDS for offer in registry.components(kind)]
    if as_json:
        components = [{"kind": o.kind, "name": o.name, "plugin": o.provider.name} for o in offers]
        print_json({"plugins": [_plugin(info) for info in registry.plugins], "components": components})
        return
    print_table(
        ("kind", "name", "plugin", "reference"),
        [(o.kind, o.name, o.provider.name, o.component.reference or "") for o in offers],
    )
    echo()
    print_table(
        ("plugin", "distribution", "version", "health"),
        [(p.name, p.distribution or "-", p.version or "-", _health(p)) for p in registry.plugins],
    )


@command.command("show", epilog=example("  lwa plugins show fisher\n  lwa plugins show lwa-builtins:random --json"))
@click.argument("name")
@click.option(
    "--kind", help="Only the component of this kind: dataset, recommender, scorer, selector, compressor or exporter."
)
@block_option
@json_option
def show(name: str, kind: str | None, block: tuple[str, ...], as_json: bool) -> None:
    """Show a component: what it does, its settings, who provides it, and its health. NAME may be `plugin:name`."""
    from lwa_core.plugins.registry import Registry

    registry = Registry.discover(block=block)
    shown = [_component(registry, offer) for offer in _chosen(registry, name, kind)]
    if as_json:
        print_json(shown)
        return
    for place, facts in enumerate(shown):
        if place:
            echo()
        _print(facts)


def _chosen(registry: Registry, name: str, kind: str | None) -> list[Offer]:
    """Every component of that name. Raises PluginError where there is none."""
    from lwa_core.errors import PluginError
    from lwa_core.plugins.hooks import KINDS
    from lwa_core.settings import did_you_mean

    provider, _, bare = name.rpartition(":")
    found = [
        offer
        for offer in registry.offers
        if offer.name == bare and kind in (None, offer.kind) and (not provider or offer.provider.goes_by(provider))
    ]
    if found:
        return sorted(found, key=lambda offer: list(KINDS).index(offer.kind))
    near = did_you_mean(bare, {offer.name for offer in registry.offers if kind in (None, offer.kind)})
    silent = "".join(f"; {info} is {info.status}: {info.error}" for info in registry.plugins if info.error)
    hint = (f"did you mean '{near}'?" if near else "`lwa plugins list` names all") + silent
    raise PluginError(f"no {kind or 'component'} is called '{name}'", hint)


def _plugin(info: PluginInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "distribution": info.distribution,
        "version": info.version,
        "status": info.status,
        "error": info.error,
        "group": info.group,
    }


def _health(info: PluginInfo) -> str:
    return f"{info.status}: {info.error}" if info.error else info.status


def _component(registry: Registry, offer: Offer) -> dict[str, Any]:
    """All there is to say about one component, JSON-ready."""
    from inspect import getdoc

    from lwa_core.errors import PluginError
    from lwa_core.settings import describe

    facts: dict[str, Any] = {
        "kind": offer.kind,
        "name": offer.name,
        "provider": _plugin(offer.provider),
        "component_version": offer.component.version,
        "reference": offer.component.reference,
        "needs": sorted(offer.component.needs),
        "lacking": registry.lacking(offer.component),
        "settings": [],
        "about": "",
        "health": "ok",
    }
    try:
        cls = offer.load()
    except PluginError as error:
        return {**facts, "health": error.message}
    return {**facts, "settings": describe(cls), "about": getdoc(cls) or ""}


def _print(facts: dict[str, Any]) -> None:
    provider = facts["provider"]
    echo(f"{facts['kind']} {facts['name']}")
    if facts["about"]:
        say(f"  {facts['about'].splitlines()[0]}")
    rows = [
        ("provider", f"{provider['name']} of {provider['distribution']} {provider['version']}"),
        ("version", str(facts["component_version"])),
        ("reference", facts["reference"]),
        ("needs", ", ".join(facts["needs"])),
        ("lacking", ", ".join(facts["lacking"])),
        ("health", facts["health"]),
    ]
    for label, text in rows:
        if text:
            say(f"  {label:<10} {text}")
    if facts["settings"]:
        echo()
        print_table(("setting", "type", "default", "help"), [_setting(each) for each in facts["settings"]])


def _setting(told: dict[str, Any]) -> tuple[str, str, str, str]:
    import json

    default = "required" if told["required"] else "-" if told["default"] is None else json.dumps(told["default"])
    notes = [told["help"]]
    if told["choices"]:
        notes.append("one of " + ", ".join(json.dumps(choice) for choice in told["choices"]))
    notes += [f"{name} {bound}" for name, bound in told["bounds"].items()]
    if told["unit"]:
        notes.append(f"in {told['unit']}")
    return told["name"], told["type"], default, "; ".join(filter(None, notes))
