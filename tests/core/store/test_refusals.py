"""A disk that takes no more is the store's own error, whichever library was writing."""

import errno
import os
import resource
import shutil
import subprocess
import sys

import pytest

from lwa_core import StoreError
from lwa_core.store.refusals import explained, shortage, shortage_explained
from lwa_core.store.results import Store

SIZE = 200_000
"""Bytes that the small disk has, and that a file may be long."""


def by_json(folder):
    import json

    with (folder / "x.json").open("w") as file:
        json.dump(list(range(SIZE)), file)


def by_bytes(folder):
    (folder / "x").write_bytes(b"x" * 2 * SIZE)


def by_numpy(folder):
    import numpy as np

    np.save(folder / "x.npy", np.zeros(SIZE))


def by_safetensors(folder):
    import numpy as np
    from safetensors.numpy import save_file

    save_file({"x": np.zeros(SIZE)}, folder / "x.safetensors")


def by_polars(folder):
    import numpy as np
    import polars as pl

    pl.DataFrame({"x": np.random.default_rng(0).random(SIZE)}).write_parquet(folder / "x.parquet")


def by_polars_csv(folder):
    import polars as pl

    pl.DataFrame({"x": range(SIZE)}).write_csv(folder / "x.csv")


def by_matplotlib(folder):
    import numpy as np
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 7))
    figure.figimage(np.random.default_rng(0).random((700, 700)))
    figure.savefig(folder / "x.png", dpi=100)


def by_torch(folder):
    torch = pytest.importorskip("torch")
    torch.save({"x": torch.zeros(SIZE)}, folder / "x.pt")


def by_torch_of_old(folder):
    torch = pytest.importorskip("torch")
    torch.save({"x": torch.zeros(SIZE)}, folder / "x.pt", _use_new_zipfile_serialization=False)


def by_torch_safetensors(folder):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(SIZE)}, folder / "x.safetensors")


LIBRARIES = [
    *(by_json, by_bytes, by_numpy, by_safetensors, by_polars, by_polars_csv, by_matplotlib),
    *(by_torch, by_torch_of_old, by_torch_safetensors),
]


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("disk")
    if sys.platform != "linux" or os.getuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs a user who may mount a small disk")
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("this user may not mount a small disk here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def short_files():
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("write", LIBRARIES, ids=lambda write: write.__name__)
def test_a_full_disk_is_the_stores_own_error_whoever_writes(small_disk, write):
    store = Store(small_disk / write.__name__)

    with pytest.raises(StoreError, match=r"no space left|less was written") as caught:
        store.get_or_make("kind", "a" * 64, write)

    assert 7 == caught.value.exit_code
    assert "MB are free there: free some space" in caught.value.hint
    assert "--store" in caught.value.hint
    assert [] == [path for path in store.root.rglob("*") if path.is_file() and path.suffix != ".lock"]
    shutil.rmtree(store.root)


@pytest.mark.parametrize("write", LIBRARIES, ids=lambda write: write.__name__)
def test_a_file_longer_than_the_system_allows_is_the_stores_own_error(tmp_path, short_files, write):
    with pytest.raises(StoreError, match=r"larger than this system allows|less was written"):
        Store(tmp_path).get_or_make("kind", "a" * 64, write)


@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_what_others_made_of_the_error_does_not_hide_it(tmp_path, code, depth):
    def fail(depth):
        if depth == 0:
            raise OSError(code, os.strerror(code), str(tmp_path / "weights"))
        try:
            fail(depth - 1)
        except Exception as error:
            raise ValueError("a library's own words") from (error if depth % 2 else None)

    with pytest.raises(StoreError, match=f"cannot write {tmp_path / 'weights'}"), shortage_explained(tmp_path):
        fail(depth)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        OSError(errno.ENOENT, "No such file"),
        RuntimeError("inline_container.cc: failed finding central directory"),  # reading what is damaged
        PermissionError(errno.EACCES, "Permission denied"),
        KeyError("28"),
    ],
    ids=repr,
)
def test_other_errors_are_not_the_disks(tmp_path, error):
    assert shortage(error) is None
    with pytest.raises(type(error)), shortage_explained(tmp_path):
        raise error


def test_errors_that_lead_to_each_other_end(tmp_path):
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one

    assert shortage(one) is None


def test_a_full_folder_for_temporary_files_is_named(tmp_path, monkeypatch):
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "tmp" / "lwa-x" / "file"))

    with pytest.raises(StoreError) as caught, shortage_explained(tmp_path / "store"):
        raise full

    assert f"free some space in {tmp_path / 'tmp'}" in caught.value.hint
    assert "TMPDIR" in caught.value.hint


def test_explained_leaves_alone_what_is_said_already(tmp_path):
    with pytest.raises(StoreError, match=r"^said$"), explained(tmp_path):
        raise StoreError("said")
