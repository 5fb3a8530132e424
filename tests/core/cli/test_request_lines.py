"""Lines of `lwa recommend --input` that are no plain text: each costs itself, and says what is wrong and what to do."""

import io

import pytest

from lwa_core.cli._lines import read_lines

LINES = '["1", "2"]\n{"history": ["alpha"]}\n["3"]\n'


def faults(data, timed=False):
    return [line.fault for line in read_lines(io.BytesIO(data), timed)]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_named(encoding):
    found = faults(LINES.encode(encoding))

    assert all("is UTF-16 text, and UTF-8 is needed" in fault for fault in found)
    assert "iconv -f utf-16 -t utf-8" in found[0]


def test_single_carriage_returns_are_named():
    assert [r"a carriage return stands inside this line (lines end in \n or \r\n)"] == faults(
        LINES.replace("\n", "\r").encode()
    )


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
def test_lines_end_in_either_way(end):
    assert [None] * 3 == faults(LINES.replace("\n", end).encode())


@pytest.mark.parametrize(
    ("strange", "said"),
    [
        (b"\xff", "is not UTF-8 text (byte 0xff)"),
        ("\ud800".encode("utf-8", "surrogatepass"), "is not UTF-8 text (byte 0xed)"),
        (rb"\ud800", "holds half of a surrogate pair"),
        (b"\x00", "Invalid control character"),
        (b"\x1b", "Invalid control character"),
        (b'"], "history": ["', "names 'history' twice in one object"),
    ],
)
def test_a_line_at_fault_costs_itself(strange, said):
    first, second, third = faults(LINES.encode().replace(b"alpha", b"al" + strange + b"pha"))

    assert (None, None) == (first, third)
    assert said in second
    assert second.endswith(")")  # what to do
