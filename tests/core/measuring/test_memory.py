import subprocess
import sys

import pytest

from lwa_core.measuring import memory, process_memory

pytestmark = pytest.mark.skipif(not process_memory.STATUS.is_file(), reason="needs /proc/self/status")


def in_fresh_process(code):
    command = [sys.executable, "-c", "from lwa_core.measuring import process_memory\n" + code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


def test_the_peak_sees_what_was_held_and_let_go():
    before, peak, after = in_fresh_process(
        "before = process_memory.resident('VmRSS')\n"
        "process_memory.reset_peak()\n"
        "block = bytearray(200_000_000)\n"
        "del block\n"
        "print(before, process_memory.peak(), process_memory.resident('VmRSS'))"
    )

    assert 195_000_000 < peak - before < 220_000_000
    assert after < before + 50_000_000


def test_the_status_of_the_process_agrees_with_the_kernels_accounting():
    import resource

    assert process_memory.peak() <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + 1_000_000
    assert 0 < process_memory.resident("VmRSS") <= process_memory.peak() + 1_000_000
    assert process_memory.resident("VmNothing") is None


def test_without_a_status_file_the_peak_comes_from_resource(monkeypatch, tmp_path):
    import resource

    monkeypatch.setattr(process_memory, "STATUS", tmp_path / "status")

    factor = 1 if sys.platform == "darwin" else 1024
    assert process_memory.peak() == resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * factor


@pytest.mark.parametrize(
    ("files", "extra"),
    [
        ({"config.json": "{}"}, []),
        ({"config.json": '{"quantization_config": {}}'}, ["bitsandbytes"]),
        ({"config.json": "{}", "adapter/adapter_config.json": "{}"}, ["peft"]),
        ({}, []),
    ],
)
def test_what_loading_imports_is_imported_before(tmp_path, files, extra):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    always = ["torch", "transformers.modeling_utils", "lwa_core.recommendation.loading"]
    assert [*always, *extra] == memory.needed_modules(tmp_path)


def test_the_process_ends_where_the_one_that_wants_to_know_is_gone(tmp_path):
    command = [sys.executable, "-m", "lwa_core.measuring.memory", tmp_path, tmp_path / "requests.json", "cpu"]

    asked = subprocess.run([*command, "9999999"], capture_output=True, check=False)

    assert (1, b"", b"") == (asked.returncode, asked.stdout, asked.stderr)  # it did not even look for the model
