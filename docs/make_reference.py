"""Write `docs/reference.md` from the code, so that it says what the code says.

LWA_UPDATE_SNAPSHOTS=1 pytest tests/docs/test_reference.py    writes it anew
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import click

from lwa_core import errors
from lwa_core.bench.document import BenchHead, CellTable, Measure
from lwa_core.cli import COMMANDS, INTERRUPTED, main
from lwa_core.plugins import hooks
from lwa_core.plugins.registry import Offer, Registry
from lwa_core.recipe.profiles import BUILT_IN as BUILT_IN_PROFILES
from lwa_core.recipe.profiles import Limits, Profile
from lwa_core.recipe.recipe import Head
from lwa_core.recipe.tables import TASKS, Table
from lwa_core.settings import describe, fields
from lwa_core.study.document import StudyHead, Vary

BUILT_IN = "lwa-builtins"

OPENING = """\
# Reference

This page is made from the code by `docs/make_reference.py`; a test fails where the two differ.
How things fit together is in the [guide](guide.md), how to add a component in [plugins](plugins.md).

* [Recipe](#recipe)
* [Components](#components)
* [Benchmark](#benchmark)
* [Study](#study)
* [Commands](#commands)
* [Exit codes](#exit-codes)
* [Hooks](#hooks)
"""

RECIPE = """\
## Recipe

Keys before the first table, then tables.
A key that is not listed here, or not among the settings of the component in use, is an error.
A setting without a default has to be given; `–` stands for a setting that is off where it is left out.
"""

BENCHMARK = """\
## Benchmark

The file of `lwa bench`, under the same rules as a recipe.
How it compares is in [bench](bench.md).
"""

STUDY = """\
## Study

The file of `lwa study`, under the same rules as a recipe.
What it says and when is in [studies](studies.md).
"""

COMPONENTS = """\
## Components

What `lwa` itself brings along.
`lwa plugins list` also shows what other packages add, and `lwa plugins show NAME` prints one entry.
"""

EXIT_CODES = """\
## Exit codes

The error that ends a command decides.
A stage of a run that fails with one of these errors ends with its code, and otherwise with that of `StageError`.
"""

HOOKS = """\
## Hooks

A plugin is a module, or any object, that implements some of these with `lwa_core.hookimpl`.
An entry point of the group `{group}` names it.
A hook that is implemented and not listed here makes the plugin broken.
"""


def render() -> str:
    """The whole page."""
    parts = [OPENING, *_recipe(), *_components(), *_benchmark(), *_study(), *_commands(), *_exit_codes(), *_hooks()]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _recipe() -> Iterator[str]:
    yield RECIPE
    yield "### Keys at the top\n"
    yield _settings(Head)
    told: set[Table] = set()
    for task, tables in TASKS.items():
        names = ", ".join(f"`{table.header}`" for table in tables)
        yield f"### Tables of the task {task}\n"
        yield f'With `task = "{task}"`: {names}.\n'
        for table in tables:
            if table not in told:
                yield from _recipe_table(table, task)
        told.update(tables)


def _recipe_table(table: Table, task: str) -> Iterator[str]:
    same_name = [task for task, tables in TASKS.items() if table.name in [other.name for other in tables]]
    shared = all(table in TASKS[task] for task in same_name)
    yield f"#### {table.header}{'' if shared else f' of the task {task}'}\n"
    if table.holds is Profile:
        built_in = ", ".join(f"`{name}`" for name in BUILT_IN_PROFILES)
        yield (
            f"One table or more. `use` names a built-in profile ({built_in}) or the TOML file of one, `name` is what "
            "tables call it; all other keys are limits that stand above its own, as the file of a profile holds them:\n"
        )
        yield _settings(Limits)
        yield _built_in_profiles()
    elif not isinstance(table.holds, str):
        yield _prose(table.holds)
        yield _settings(table.holds)
    elif table.several:
        yield (
            f"One table or more. `use` names {_a(table.holds)}; `name` is what the recipe calls it "
            f"(what it uses, where left out); all other keys are [its settings](#{table.holds}s).\n"
        )
    else:
        yield f"`use` names {_a(table.holds)}; all other keys are [its settings](#{table.holds}s).\n"


def _a(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _built_in_profiles() -> str:
    names = [field.name for field in fields(Limits)]
    lines = [["profile", *names], ["---"] * (len(names) + 1)]
    for name, limits in BUILT_IN_PROFILES.items():
        values = (getattr(limits, each) for each in names)
        lines.append([f"`{name}`", *("–" if value is None else f"{value:g}" for value in values)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _components() -> Iterator[str]:
    yield COMPONENTS
    registry = Registry.discover()
    for kind in hooks.KINDS:
        yield f"### {kind.capitalize()}s\n"
        for offer in registry.components(kind):
            if offer.provider.name == BUILT_IN:
                yield from _component(offer)


def _benchmark() -> Iterator[str]:
    yield BENCHMARK
    yield "### Keys at the top of a benchmark\n"
    yield _settings(BenchHead)
    yield "### [[cell]]\n"
    yield _prose(CellTable)
    yield _settings(CellTable)
    yield "### [measure]\n"
    yield _prose(Measure)
    yield _settings(Measure)
    yield "### [[score]], [[select]], [repair] and [heal] of a benchmark\n"
    yield (
        "What is compared, and how cut models are repaired and healed: `use` names a scorer, a selector, a compressor, "
        "and all other keys are its settings. The benchmark sets `keep` of every selector itself. `first-last`, "
        "`last-first` and `uniform` are always compared, and so is a random subset, in expectation.\n"
    )


def _study() -> Iterator[str]:
    yield STUDY
    yield "### Keys at the top of a study\n"
    yield _settings(StudyHead)
    yield "### [[vary]]\n"
    yield _prose(Vary)
    yield _settings(Vary)
    yield (
        "`values` are what the knob is set to, in a grid: of any kind that the key takes. A drawn design has `low` and "
        "`high` instead.\n"
    )
    yield "### [tune]\n"
    yield (
        "Keys of the recipe, each with a list of values: all combinations are tried for every cell, and the one whose "
        "full model does best on validation is run.\n"
    )


def _component(offer: Offer) -> Iterator[str]:
    component, cls = offer.component, offer.load()
    yield f"#### {offer.name} ({offer.kind})\n"
    yield _prose(cls)
    facts = [f"* Version of its results: {component.version}"]
    if component.needs:
        facts.append(f"* Needs: {', '.join(sorted(component.needs))}")
    if component.reference:
        facts.append(f"* Reference: {_escaped(component.reference)}")
    yield "\n".join(facts) + "\n"
    yield _settings(cls)


def _settings(cls: type) -> str:
    rows = []
    for told in describe(cls):
        notes = [told["help"]]
        if told["choices"]:
            notes.append("one of " + ", ".join(map(_toml, told["choices"])))
        notes += [f"{bound} {value}" for bound, value in told["bounds"].items()]
        if told["unit"]:
            notes.append(f"in {told['unit']}")
        default = "required" if told["required"] else "–" if told["default"] is None else _toml(told["default"])
        rows.append((f"`{told['name']}`", told["type"], default, "; ".join(notes)))
    return _table(("setting", "type", "default", "what it is"), rows) if rows else "It has no settings.\n"


def _commands() -> Iterator[str]:
    yield "## Commands\n"
    context = click.Context(main, info_name="lwa")
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        yield from _command(command, f"lwa {name}")


def _command(command: click.Command, path: str) -> Iterator[str]:
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from _command(inner, f"{path} {name}")
        return
    yield f"### {path}\n"
    yield _sentences(inspect.cleandoc(command.help or "").split("\n\n"))
    context = click.Context(command)
    arguments = [each.make_metavar(context) for each in command.params if isinstance(each, click.Argument)]
    yield "\n".join(["```console", " ".join([f"$ {path}", *arguments, "[OPTIONS]"]), "```"]) + "\n"
    options = [each for each in command.params if isinstance(each, click.Option)]
    yield _table(("option", "default", "what it does"), [_option(each, context) for each in options])


def _option(option: click.Option, context: click.Context) -> tuple[str, str, str]:
    spelt = ", ".join(option.opts) + ("" if option.is_flag else f" {option.make_metavar(context)}")
    default = f"`{option.default}`" if option.show_default else ""
    text = option.help or ""
    return f"`{spelt}`", default, text + (f" Environment: `{option.envvar}`." if option.show_envvar else "")


def _exit_codes() -> Iterator[str]:
    family = [cls for cls in errors.LwaError.__subclasses__() if cls.__module__ == errors.__name__]
    rows = [
        ("0", "", "all went well"),
        (str(errors.LwaError.exit_code), "`LwaError`", "another mistake, or a bug of lwa, which says so"),
        (str(click.UsageError.exit_code), "", "the command line itself is wrong"),
        *((str(cls.exit_code), f"`{cls.__name__}`", _summary(cls)) for cls in family),
        (str(INTERRUPTED), "", "interrupted; the same command goes on"),
    ]
    yield EXIT_CODES
    yield _table(("code", "class", "when"), sorted(rows, key=lambda row: int(row[0])))


def _hooks() -> Iterator[str]:
    yield HOOKS.format(group=hooks.ENTRY_POINT_GROUP)
    for name, function in hook_functions().items():
        text, _, example = inspect.cleandoc(function.__doc__ or "").partition("\n\nExample:\n")
        yield f"### {name}\n"
        yield f"```python\ndef {name}{_signature(function)}: ...\n```\n"
        yield _sentences(text.split("\n\n"))
        yield "```python\n" + inspect.cleandoc(example) + "\n```\n"
    yield "### Component\n"
    yield f"```text\nComponent{_signature(hooks.Component)}\n```\n"
    text, _, arguments = inspect.cleandoc(hooks.Component.__doc__ or "").partition("\n\nArgs:\n")
    yield _sentences(text.split("\n\n"))
    listed = re.findall(r"^(\w+): (.*(?:\n {4,}.*)*)", inspect.cleandoc(arguments), re.MULTILINE)
    yield "\n".join(f"* `{name}`: {' '.join(said.split())}" for name, said in listed) + "\n"


def hook_functions() -> dict[str, Any]:
    """Every hook spec by name, in the order of the code."""
    return {name: value for name, value in vars(hooks).items() if name.startswith("lwa_") and callable(value)}


def _prose(cls: type) -> str:
    return _sentences((inspect.getdoc(cls) or "").split("\n\n"))


def _summary(cls: type) -> str:
    return (inspect.getdoc(cls) or "").split("\n\n")[0].replace("\n", " ")


def _sentences(paragraphs: Iterable[str]) -> str:
    """Paragraphs with one sentence a line."""
    joined = [" ".join(paragraph.split()) for paragraph in paragraphs]
    return "\n\n".join(re.sub(r"(?<=[.!?]) (?=[A-Z`])", "\n", _escaped(text)) for text in joined) + "\n"


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headers, ["---"] * len(headers), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _cell(text: str) -> str:
    return _escaped(" ".join(text.split())).replace("|", "\\|")


def _toml(value: object) -> str:
    return f"`{json.dumps(value, ensure_ascii=False)}`"  # TOML and JSON spell these alike


def _signature(function: Any) -> str:
    return str(inspect.signature(function)).replace("'", "")


def _escaped(text: str) -> str:
    """Text in which nothing outside of `code` is read as Markdown."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([*_<>\[\]])", r"\\\1", part) for part in parts)
