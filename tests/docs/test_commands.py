"""Commands that documents show exist, with the options that they are shown with."""

from __future__ import annotations

import re
import shlex

import click
import pytest
from documents import DOCUMENTS, ROOT, Block, blocks, prose

from lwa_core.cli import main

SHOWN = [
    pytest.param(block, line.removeprefix("$ "), id=f"{block}: {line}")
    for block in blocks("console")
    for line in block.text.splitlines()
]


def resolve(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the words after `lwa` mean, and what is left for it."""
    command, rest = main, words
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        default = getattr(command, "default", None)
        if default is not None and rest[0] not in command.commands:
            rest = [default, *rest]
        found = command.get_command(click.Context(command), rest[0])
        assert found is not None, f"lwa has no command {rest[0]!r}"
        command, rest = found, rest[1:]
    return command, rest


def options(command: click.Command) -> set[str]:
    context = click.Context(command, **command.context_settings)
    return {"-h", "--help"} | {
        name for each in command.get_params(context) for name in (*each.opts, *each.secondary_opts)
    }


@pytest.mark.parametrize(("block", "line"), SHOWN)
def test_a_shown_command_is_understood(block: Block, line: str):
    words = shlex.split(line, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):  # an environment variable
        words = words[1:]
    if words[0] == "torchrun":
        words = ["lwa", *words[words.index("lwa_core.cli") + 1 :]]
    if words[0] == "make":
        assert words[1] in re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    elif words[0] == "lwa" and "[OPTIONS]" not in words:
        words = words[1 : words.index(">")] if ">" in words else words[1:]
        command, rest = resolve(words)
        command.make_context("lwa", rest)  # raises where an option or argument is wrong or missing
    else:
        assert words[0] in {"lwa", "pip", "git", "python"}


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_commands_in_the_text_exist(file):
    for code in re.findall(r"`lwa ([^`]*)`", prose(file)):
        command, rest = resolve(shlex.split(code))
        unknown = {word for word in rest if word.startswith("-") and word != "-"} - options(command)
        assert set() == unknown, code


def test_every_command_is_shown_in_the_guide_or_the_readme():
    text = (ROOT / "README.md").read_text("utf-8") + (ROOT / "docs" / "guide.md").read_text("utf-8")
    assert [] == [name for name in main.list_commands(click.Context(main)) if f"lwa {name}" not in text]
