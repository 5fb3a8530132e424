"""bitsandbytes fetches code from the hub as it is imported, where it can. With us it cannot."""

import subprocess
import sys

FAKE = """
def get_kernel(*args, **kwargs):
    open({marker!r}, "w").write("fetched")
    raise RuntimeError("no network")
"""


def test_no_kernel_is_fetched_while_bitsandbytes_is_imported(tmp_path):
    marker = tmp_path / "fetched"
    (tmp_path / "kernels.py").write_text(FAKE.format(marker=str(marker)))
    core = "lwa_core.modeling.files.saving, lwa_core.training.trainer"
    code = f"import {core}, bitsandbytes, kernels; print(kernels.__file__)"

    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)

    assert str(tmp_path / "kernels.py") == done.stdout.strip()
    assert "kernel" not in done.stderr
    assert not marker.exists()
