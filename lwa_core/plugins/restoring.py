"""Models whose modules a compressor replaced: kept with the names of those who did, and made again by them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from lwa_core.errors import LwaError, ModelError, PluginError
from lwa_core.plugins.protocols import Restoring
from lwa_core.plugins.registry import PluginInfo, Registry
from lwa_core.settings import structure

if TYPE_CHECKING:
    import torch

OURS = "lwa"


@attrs.frozen
class Restorer:
    """A compressor that gave a model other modules than it had before, and has them again from its files.

    `provider` says whose it is, JSON-ready, for those who load the model and lack it; empty for a built-in one.
    """

    component: str
    settings: Mapping[str, Any]
    instance: Restoring
    provider: Mapping[str, str] = attrs.field(factory=dict)


def facts_of(provider: PluginInfo) -> dict[str, str]:
    """Who offers a component, JSON-ready: what somebody needs to know to have it. Empty for what comes with lwa."""
    if provider.distribution == OURS:
        return {}
    facts = {
        "plugin": provider.name,
        "distribution": provider.distribution,
        "version": provider.version,
        "file": None if provider.file is None else provider.file.name,
        "sha256": provider.digest,
    }
    return {name: value for name, value in facts.items() if value is not None}


def told_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they are written beside a model: what was left out stays so."""
    return {name: value for name, value in settings.items() if value is not None}


def described(restorers: Sequence[Restorer]) -> list[dict[str, Any]]:
    """The compressors that replaced modules, as they are written beside a model."""
    return [
        {
            "compressor": each.component,
            "settings": told_settings(each.settings),
            **({"provider": dict(each.provider)} if each.provider else {}),
        }
        for each in restorers
    ]


def restorers_of(said: Any, registry: Registry, folder: Path) -> tuple[Restorer, ...]:
    """What `described` gave, as components again.

    Raises:
        ModelError: It is none of that, or a compressor restores no model any more.
        PluginError: A compressor is not known here; the message says where it was from.
    """
    try:
        told = [(each["compressor"], each["settings"], each.get("provider") or {}) for each in said or ()]
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"what {folder} says of the compressors that made its model is damaged: {error!r}") from error
    return tuple(_restorer(component, settings, provider, registry, folder) for component, settings, provider in told)


def _restorer(component: str, settings: Any, provider: Any, registry: Registry, folder: Path) -> Restorer:
    instance = component_of(registry, "compressor", component, settings, folder, provider)
    if not isinstance(instance, Restoring):
        raise ModelError(f"the model in {folder} needs compressor '{component}', which restores no model any more")
    return Restorer(component, settings, instance, provider)


def component_of(
    registry: Registry, kind: str, component: str, settings: Any, folder: Path, provider: Mapping[str, str]
) -> Any:
    """A component that a saved model names, with its settings.

    Raises:
        PluginError: No plugin offers it.
        ModelError: It takes other settings now.
    """
    try:
        offer = registry.find(kind, component)
    except PluginError as error:
        said = f"the model in {folder} cannot be loaded: {error.message}"
        raise type(error)(said, f"{_where_from(provider)}; {error.hint}") from error
    made, problems = structure(offer.load(), settings, (), None)
    if made is None:
        raise ModelError(f"the model in {folder} does not fit {offer.provider}: {problems[0].message}")
    return made


def _where_from(provider: Mapping[str, str]) -> str:
    """What to do to have a component, by who offered it when the model was made."""
    if provider.get("file"):
        file = provider["file"]
        give = f"give it: lwa_core.load(..., plugins=['{file}']) or lwa recommend --plugin {file}"
        return f"it was offered by the local file {file} (sha256 {provider.get('sha256', '')[:12]}…): {give}"
    if provider.get("distribution"):
        name, version = provider["distribution"], provider.get("version", "")
        return f"it was offered by {name} {version}".rstrip() + f": install that, for example `pip install {name}`"
    return "it has to be in an installed package, or in a file that is given"


def save_network(
    model: torch.nn.Module, restorers: Sequence[Restorer], folder: Path, blocks: str | None = None
) -> None:
    """Write a model's configuration and weights, by the compressor that replaced its modules last where one did.

    Maps between its layers lie apart, so that without one the folder is a plain checkpoint. `blocks` is the path of its
    list of layers; None: it is found.
    """
    from lwa_core.modeling.files.map_files import write_maps
    from lwa_core.modeling.files.saving import save_config, save_model
    from lwa_core.modeling.layers.state_maps import maps_apart

    with maps_apart(model) as maps:
        if restorers:
            save_config(model, folder)
            restorers[-1].instance.save(model, folder)
        else:
            save_model(model, folder)
    if maps:
        write_maps(model, blocks, folder)


def load_network(
    load: Callable[[], torch.nn.Module], restorers: Sequence[Restorer], folder: Path, blocks: str | None = None
) -> torch.nn.Module:
    """What `save_network` wrote.

    Args:
        load: Loads a model of the configuration in the folder.
        restorers: The compressors that replaced modules, in their order. Each makes its own anew, of a model without
            weights; these are read by the last one.
        folder: Where all lies.
        blocks: Path of the list of layers; None: it is found.

    Raises:
        ModelError: It is damaged, or a compressor cannot restore it.
        PluginError: A compressor gives no model.
    """
    from lwa_core.modeling.files.map_files import with_saved_maps

    return with_saved_maps(_restored(load, restorers, folder) if restorers else load(), blocks, folder)


def _restored(load: Callable[[], torch.nn.Module], restorers: Sequence[Restorer], folder: Path) -> torch.nn.Module:
    from lwa_core.modeling.files.saving import without_weights

    with without_weights():
        model = load()
        for restorer in restorers[:-1]:
            model = _by(restorer, model, folder)
    return _by(restorers[-1], model, folder).eval()


def _by(restorer: Restorer, model: torch.nn.Module, folder: Path) -> torch.nn.Module:
    import torch

    try:
        made: Any = restorer.instance.restore(model, folder)
    except Exception as error:  # it is somebody else's code
        said = error.message if isinstance(error, LwaError) else f"{type(error).__name__}: {error}"
        raise ModelError(f"compressor '{restorer.component}' cannot restore the model in {folder}: {said}") from error
    if not isinstance(made, torch.nn.Module):
        gave = type(made).__name__
        raise PluginError(f"compressor '{restorer.component}' restored {gave} from {folder}, not a model")
    return made
