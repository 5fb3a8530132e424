from __future__ import annotations

import csv
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lwa_core.errors import DataError
from lwa_core.text.reading import Text, read_texts


def written(folder, name: str, content: str | bytes):
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def test_json_lines(tmp_path):
    file = written(tmp_path, "a.jsonl", '\ufeff{"text": "one", "more": 1}\n\n{"text": "zwölf"}\n')
    assert [Text("one", None, 1), Text("zwölf", None, 3)] == read_texts(file)


def test_labels_and_other_names(tmp_path):
    file = written(tmp_path, "a.ndjson", '{"t": "one", "y": "good"}\n{"t": "two", "y": 1}\n')
    assert [Text("one", "good", 1), Text("two", 1, 2)] == read_texts(file, "t", "y")


def test_a_row_of_a_table_is_named_by_the_line_where_it_begins(tmp_path):
    file = written(tmp_path, "a.csv", 'label,text\r\n0,"a, b"\r\n1,"two\r\nlines"\r\n\r\n0,last\r\n')
    assert [Text("a, b", "0", 2), Text("two\r\nlines", "1", 3), Text("last", "0", 6)] == read_texts(file, label="label")


printable = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).filter(str.strip)


@given(st.lists(printable, min_size=1, max_size=5))
def test_what_was_written_is_read(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("texts")
    with (folder / "a.tsv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(
            [["text"], *[[text] for text in texts]]
        )
    lines = written(folder, "a.jsonl", "".join(json.dumps({"text": text}) + "\n" for text in texts))
    assert texts == [each.text for each in read_texts(folder / "a.tsv")]
    assert texts == [each.text for each in read_texts(lines)]


@pytest.mark.parametrize(
    ("name", "content", "line", "said"),
    [
        ("a.jsonl", '{"text": "a"}\n{"text": \n', 2, "is not JSON: "),
        ("a.jsonl", '{"text": "a"}\n["b"]\n', 2, "no JSON object"),
        ("a.jsonl", '{"text": "a"}\n{"txt": "b"}\n', 2, "no 'text'"),
        ("a.jsonl", '{"text": 3}\n', 1, "'text' is no text"),
        ("a.jsonl", '{"text": " "}\n', 1, "'text' is no text"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "\xff"}\n', 2, "no UTF-8"),
        ("a.jsonl", "\n \n", None, "there is no text in it"),
        ("a.csv", "", None, "there is no text in it"),
        ("a.csv", "text\n", None, "there is no text in it"),
        ("a.csv", "text,label\na,0\nb\n", 3, "1 cells in a table of 2 columns"),
        ("a.csv", "text,label\na, with a comma,0\n", 2, "3 cells in a table of 2 columns"),
        ("a.csv", 'text\n"a"b\n', 2, "no table"),
        ("a.csv", 'text\n"never ends\n', 2, "no table"),
        ("a.csv", "text,text\na,b\n", 1, "two columns have the same name"),
        ("a.csv", "words\na\n", 2, "no 'text'"),
        ("a.txt", "a\n", None, "its ending is none of .jsonl"),
    ],
)
def test_malformed(tmp_path, name, content, line, said):
    file = written(tmp_path, name, content)
    with pytest.raises(DataError) as error:
        read_texts(file)
    assert (line, True) == (error.value.line, said in str(error.value))
    assert str(error.value).startswith(f"{file}: " if line is None else f"{file}:{line}: ")


@pytest.mark.parametrize("label", ["null", "1.5", '""', "true", "[1]"])
def test_bad_label(tmp_path, label):
    file = written(tmp_path, "a.jsonl", f'{{"text": "a", "label": 0}}\n{{"text": "a", "label": {label}}}\n')
    with pytest.raises(DataError, match=r"a\.jsonl:2: 'label' is neither"):
        read_texts(file, label="label")


def test_no_file(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_texts(tmp_path / "a.csv")
