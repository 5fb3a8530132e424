"""The reader in JavaScript answers from a bundle as the runtime in Python does."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from lwa_core import open_bundle

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

from made_bundles import LastItem, made_bundle

READER = Path(__file__).parents[2] / "examples" / "bundle_reader_js"
IDS = [f"item {item} é" for item in range(50)]
ASKED = [
    {"history": IDS[:3], "k": 5},
    {"history": [IDS[7], "new"], "k": 60},
    {"history": [], "k": 4},
    {"history": [IDS[item % 9] for item in range(20)], "k": 8, "exclude": IDS[20:40]},
    {"history": [IDS[1]], "k": 3, "allow": IDS[:10], "filterSeen": False},
]


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A folder with the reader and what it needs."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("reader")
    for file in READER.iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    # Without its script, which would fetch libraries for graphics cards.
    words = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]
    try:
        done = subprocess.run(words, check=False, cwd=folder, capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        pytest.skip("the npm registry does not answer")
    if done.returncode:
        pytest.skip(f"the npm registry is not available: {done.stderr.strip()[-200:]}")
    return folder / "reader.mjs"


def answers(reader, folder, asked):
    lines = "\n".join(map(json.dumps, asked))
    words = ["node", reader, folder]
    return subprocess.run(words, check=False, input=lines, capture_output=True, text=True, timeout=120)


@pytest.mark.slow  # it installs 300 MB
@pytest.mark.parametrize("table", ["float32", "float16", "int8"])
def test_the_reader_answers_as_the_runtime_does(reader, tmp_path, table):
    vectors = np.random.default_rng(0).standard_normal((50, 12))
    vectors[3] *= 1e-6  # of half precision, numbers below the normal ones
    made_bundle(tmp_path / "made", vectors, IDS, LastItem(table), titles=tuple(IDS))
    served = open_bundle(tmp_path / "made")
    done = answers(reader, tmp_path / "made", ASKED)
    assert ("", 0) == (done.stderr, done.returncode)
    for asked, line in zip(ASKED, done.stdout.splitlines(), strict=True):
        theirs = json.loads(line)
        told = {("filter_seen" if name == "filterSeen" else name): value for name, value in asked.items()}
        ours = served.recommend(**told)
        assert ours.scores == pytest.approx(theirs["scores"], rel=1e-5, abs=1e-6)
        assert (ours.items, list(ours.unknown)) == (tuple(theirs["items"]), theirs["unknown"])


@pytest.mark.slow
def test_the_reader_refuses_another_file_by_name(reader, tmp_path):
    made_bundle(tmp_path / "made", np.eye(4))
    np.save(tmp_path / "made" / "items.npy", np.ones((4, 4), dtype=np.float32))
    done = answers(reader, tmp_path / "made", [["i1"]])
    assert 0 != done.returncode
    assert "items.npy is not the file that was saved" in done.stderr
