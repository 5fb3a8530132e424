"""The command line: one file per command, each imported only when it is run."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any, NoReturn

import click

from lwa_core.cli._signals import INTERRUPTED, SAID, interruptible, is_interrupted

COMMANDS = {
    "init": "Write a commented recipe to start from.",
    "check": "Say everything that is wrong with a recipe.",
    "plan": "Show the stages of a run, what is stored, and what is lacking.",
    "run": "Run a recipe, or go on with it.",
    "report": "Write or show the report of a run.",
    "recommend": "Recommend items with the models of a run.",
    "profile": "Measure models and bundles against the limits of a device.",
    "export": "Print the layers that a run keeps, for people or for other tools.",
    "score": "Score the layers of a language model or text classifier.",
    "plugins": "List plugins, or show what a component can be set to.",
    "bench": "Compare scorers and selectors on many models.",
    "study": "Run one recipe with many settings and seeds, and say what that shows.",
    "schema": "Print the JSON Schema of recipes, for editors.",
    "doctor": "Check this machine and the installed plugins.",
}
"""Command -> its line in `lwa --help`. Each is `command` in the module of that name beside this file."""

EPILOG = """\b
Example:
  lwa init recipe.toml
  lwa check recipe.toml
  lwa run recipe.toml
"""


class LazyGroup(click.Group):
    """Imports a command when it is run, and turns what goes wrong in one into words and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"lwa_core.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from lwa_core.settings import did_you_mean

            near = did_you_mean(args[0], COMMANDS)
            ctx.fail(f"no such command '{args[0]}'." + (f" Did you mean '{near}'?" if near else ""))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _say_interrupted(ctx)
        except click.ClickException as error:
            from lwa_core.printable import one_line

            error.message = one_line(error.message)  # type: ignore[misc]  # it quotes what was typed, or a file's name
            raise
        except (click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if is_interrupted():  # some libraries make another exception of it
                _say_interrupted(ctx)
            _explain(ctx, error)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        with interruptible():
            return super().main(*args, **kwargs)


def _say_interrupted(ctx: click.Context) -> NoReturn:
    from lwa_core.cli._terminal import echo
    from lwa_core.training import processes

    if processes.is_first():
        with suppress(OSError):  # of a terminal that is gone
            echo(SAID, err=True, nl=False)
    ctx.exit(INTERRUPTED)


def _explain(ctx: click.Context, error: Exception) -> NoReturn:
    from lwa_core.cli._terminal import echo, say
    from lwa_core.errors import LwaError, RecipeError
    from lwa_core.printable import one_line
    from lwa_core.store.refusals import shortage_error
    from lwa_core.training import processes

    if os.environ.get("LWA_TRACEBACK"):
        import traceback

        echo("".join(traceback.format_exception(error)), err=True, nl=False)
    if isinstance(error, BrokenPipeError):  # the reader of our output has gone: nobody is left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        ctx.exit(1)
    if not isinstance(error, LwaError):
        error = shortage_error(error) or error
    if isinstance(error, LwaError) and processes.is_said(error):
        ctx.exit(error.exit_code)
    if isinstance(error, RecipeError) and error.problems:
        echo(str(error), err=True)
        ctx.exit(error.exit_code)
    if isinstance(error, LwaError):
        code = "error" if error.code == "error" else f"error[{error.code}]"
        echo(f"{code}: {one_line(error.message)}" + (f"\n  = {one_line(error.hint)}" if error.hint else ""), err=True)
        ctx.exit(error.exit_code)
    if isinstance(error, OSError) and error.filename is not None:
        say(f"error: cannot use {os.fsdecode(error.filename)}: {error.strerror}", err=True)
        ctx.exit(1)
    say(f"lwa has a bug: {type(error).__name__}: {error}", err=True)
    echo("  = please report it, with what LWA_TRACEBACK=1 in front of the same command prints", err=True)
    ctx.exit(1)


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="lwa")
def main() -> None:
    """Which layers of a transformer recommender do its users need?

    A recipe (one TOML file) names data, a model, ways to score its layers, and ways to make it smaller. A run measures
    what is kept and what is lost.
    """
