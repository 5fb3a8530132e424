"""`lwa doctor`: what this machine and the installed plugins can do."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator

import attrs
import click

from lwa_core.cli._options import block_option, example, json_option
from lwa_core.cli._terminal import print_json, say

OK, WARN, BAD = "ok", "warn", "bad"

REQUIRED = ("transformers", "accelerate", "peft", "safetensors", "polars", "scipy", "sklearn", "matplotlib", "jinja2")

PYTHON = ((3, 10), (3, 14))
"""Oldest Python that is supported, and the first that is not."""


@attrs.frozen
class Finding:
    """One line of the doctor's report."""

    level: str
    name: str
    text: str
    hint: str | None = None


@click.command(epilog=example("  lwa doctor\n  lwa doctor --json"))
@block_option
@json_option
@click.pass_context
def command(ctx: click.Context, block: tuple[str, ...], as_json: bool) -> None:
    """Check this machine and the installed plugins.

    Each line is ok, warn (something is worse than it could be) or bad (something needed is missing or wrong). Exits
    with 8 where a line is bad.
    """
    from lwa_core.errors import NeedsError

    findings = list(examine(block))
    if as_json:
        print_json([attrs.asdict(finding) for finding in findings])
    else:
        for finding in findings:
            say(f"{finding.level:<5} {finding.name:<14} {finding.text}")
            if finding.hint:
                say(f"      {'':<14} = {finding.hint}")
    if any(finding.level == BAD for finding in findings):
        ctx.exit(NeedsError.exit_code)


def examine(block: tuple[str, ...] = ()) -> Iterator[Finding]:
    """Every finding. A check that fails in a way nobody foresaw is a bad finding itself."""
    checks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("python", _python),
        ("torch", _torch),
        ("packages", _packages),
        ("bitsandbytes", _bitsandbytes),
        ("plugins", lambda: _plugins(block)),
    ]
    for name, check in checks:
        try:
            yield from check()
        except Exception as error:
            yield Finding(BAD, name, f"{type(error).__name__}: {error}")


def _python() -> Iterator[Finding]:
    fine = PYTHON[0] <= sys.version_info[:2] < PYTHON[1]
    hint = None if fine else "use Python 3.10 to 3.13"
    yield Finding(OK if fine else BAD, "python", f"{platform.python_version()} on {platform.platform()}", hint)


def _torch() -> Iterator[Finding]:
    try:
        import torch
    except ImportError as error:
        yield Finding(BAD, "torch", f"cannot be imported: {error}", "pip install torch")
        return
    yield Finding(OK, "torch", str(torch.__version__))
    yield Finding(OK, "threads", f"{torch.get_num_threads()} of {os.cpu_count()} processors")
    if torch.cuda.is_available():
        yield Finding(OK, "cuda", ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())))
    else:
        yield Finding(OK, "cuda", "no device; all runs on the CPU")


def _packages() -> Iterator[Finding]:
    from importlib import import_module

    for name in REQUIRED:
        try:
            module = import_module(name)
        except ImportError as error:
            yield Finding(BAD, name, f"cannot be imported: {error}", "pip install --force-reinstall lwa")
        else:
            yield Finding(OK, name, str(getattr(module, "__version__", "installed")))


def _bitsandbytes() -> Iterator[Finding]:
    """Bitsandbytes decodes some widths wrongly on some processors; say what this one does."""
    try:
        import bitsandbytes
    except Exception as error:  # its import loads native code, which fails in many ways
        yield Finding(BAD, "bitsandbytes", f"cannot be imported: {error}", "qlora needs it: pip install bitsandbytes")
        return
    from lwa_core.modeling.files.quantisation import TOLERANCE, nf4_self_check

    yield Finding(OK, "bitsandbytes", str(bitsandbytes.__version__))
    for width, level, hint in (
        (64, BAD, "4-bit weights cannot be trusted here: do not use qlora"),
        (96, WARN, "widths that 64 does not divide decode wrongly here: qlora leaves such layers in full precision"),
    ):
        worst = nf4_self_check(width)
        fine = worst <= TOLERANCE
        text = f"width {width}: largest decoding error {worst:.1e}"
        yield Finding(OK if fine else level, "nf4", text, None if fine else hint)


def _plugins(block: tuple[str, ...]) -> Iterator[Finding]:
    from lwa_core.errors import PluginError
    from lwa_core.plugins.registry import OK as HEALTHY
    from lwa_core.plugins.registry import Registry

    registry = Registry.discover(block=block)
    for info in registry.plugins:
        told = f"{info.distribution or 'unknown distribution'} {info.version or ''}".rstrip()
        if info.status != HEALTHY:
            yield Finding(
                WARN, info.name, f"{told}: {info.status}: {info.error}", "recipes that do not use it still run"
            )
            continue
        offers = [offer for offer in registry.offers if offer.provider == info]
        yield Finding(OK, info.name, f"{told}: {len(offers)} components")
        for offer in offers:
            try:
                offer.load()
            except PluginError as error:
                yield Finding(WARN, info.name, error.message, error.hint)
    if not registry.offers:
        yield Finding(BAD, "plugins", "no plugin offers anything", "the built-ins are missing: reinstall lwa")
