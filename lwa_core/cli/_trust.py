"""Python files that a recipe brings along: run only once they were allowed, on a terminal by asking."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from lwa_core.plugins.trust import Allowing

VARIABLE = "LWA_ALLOW_LOCAL"


class AskFirst:
    """Allows files that were allowed before; asks for others where somebody is there to answer, once for each."""

    def __init__(self) -> None:
        self.answers: dict[str, bool] = {}

    def __call__(self, file: Path, digest: str) -> bool:
        from lwa_core.plugins.trust import remember, trusted

        if digest not in self.answers:
            self.answers[digest] = digest in trusted() or (_is_terminal() and _asked(file, digest))
            if self.answers[digest] and digest not in trusted():
                remember(file, digest)
        return self.answers[digest]


def allow_given(file: Path, digest: str) -> bool:
    """What `--allow-local` stands for: every file of the recipe is allowed, now and later."""
    from lwa_core.plugins.trust import remember, trusted

    if digest not in trusted():
        remember(file, digest)
    return True


def allowing(ctx: click.Context, parameter: click.Parameter, value: bool | None) -> Allowing:
    """The option's value as what `check_recipe` takes."""
    if value is None:
        return AskFirst()
    on_line = ctx.get_parameter_source(str(parameter.name)) is click.core.ParameterSource.COMMANDLINE
    return allow_given if value and on_line else value


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _asked(file: Path, digest: str) -> bool:
    from lwa_core.cli._terminal import say

    say(
        f"The recipe names {file} (sha256 {digest[:12]}…). It is Python code, and would run with your rights.", err=True
    )
    say("Read it first: lwa asks again only when it changes.", err=True)
    answer: Any = click.confirm("Run it?", default=False, err=True)
    return bool(answer)
