"""Whatever signal ends a command, it says the same and ends with the same code, wherever the command is."""

import signal
import subprocess
import sys

import pytest
from heeding import HEED_ALL, SIGNALS

SAID = "\ninterrupted; run the same command to go on\n"

# A command that does what a test says, in the place of one that takes long.
START = """
import sys, time, types
import click
from lwa_core import cli
from lwa_core.cli import _signals

def here():
    print("here", flush=True)

def wait():
    here()
    time.sleep(600)

@click.command()
def command():
    {body}

module = types.ModuleType("lwa_core.cli.run")
module.command = command
sys.modules["lwa_core.cli.run"] = module
sys.argv = ["lwa", "run"]
cli.main()
"""

BODIES = {
    "works": "wait()",
    "has a library that makes another error of it": """
    try:
        wait()
    except KeyboardInterrupt:
        raise ImportError("numpy could not be imported")""",
    "has a library that swallows it": """
    _signals.GRACE = 0.1
    try:
        wait()
    except KeyboardInterrupt:
        pass
    time.sleep(600)""",
    "imports": """
    import importlib.abc
    class Slow(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path, target=None):
            if name == "torch":
                wait()
    sys.meta_path.insert(0, Slow())
    import torch""",
}


def start(body, begin=HEED_ALL, **options):
    command = [sys.executable, "-c", begin + START.format(body=body)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_ends_with_the_same_words_and_code(body, number):
    with start(body) as process:
        assert process.stdout.readline() == "here\n"
        process.send_signal(number)
        told = process.communicate(timeout=120)

    assert (130, ("", SAID)) == (process.returncode, told)


def test_a_second_signal_ends_what_does_not_end():
    body = """
    while True:
        try:
            here()
            time.sleep(600)
        except KeyboardInterrupt:
            pass"""
    with start(body) as process:
        for _ in range(2):
            assert process.stdout.readline() == "here\n"
            process.send_signal(signal.SIGTERM)
        told = process.communicate(timeout=120)

    assert (130, ("", SAID)) == (process.returncode, told)


def test_what_nohup_ignores_stays_ignored():
    body = """
    here()
    sys.stdin.read()"""
    ignoring = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN), "stdin": subprocess.PIPE}
    with start(body, begin="", **ignoring) as process:
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGHUP)
        told = process.communicate(timeout=120)

    assert (0, ("", "")) == (process.returncode, told)


def test_a_program_that_calls_the_command_line_has_its_own_handlers_back():
    before = [signal.getsignal(number) for number in SIGNALS]
    code = (
        "import signal\nfrom lwa_core.cli import main\n"
        "signal.signal(signal.SIGTERM, print)\n"
        "main(['--version'], standalone_mode=False)\n"
        "assert signal.getsignal(signal.SIGTERM) is print\n"
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
    )

    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    assert before == [signal.getsignal(number) for number in SIGNALS]


def test_a_terminal_that_is_gone_does_not_hide_the_exit_code():
    with start("wait()") as process:
        process.stdout.readline()
        process.stderr.close()  # nobody reads what it says
        process.send_signal(signal.SIGHUP)
        process.stdout.read()

    assert 130 == process.returncode
