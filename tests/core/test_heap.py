"""Freed memory is used again, counted in page faults of a fresh process."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import numpy as np
from lwa_core.heap import keep_freed_memory

keep_freed_memory()
np.ones(2**21)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    np.ones(2**21)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(**variables):
    ran = subprocess.run([sys.executable, "-c", FAULTS], env=variables, capture_output=True, text=True, check=True)
    return int(ran.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_what_is_freed_is_used_again_unless_the_environment_says_otherwise():
    """2^21 doubles are 4,096 pages of 4 KiB, 50 times; fewer where pages are larger."""
    given_back = faults(MALLOC_TRIM_THRESHOLD_="0", MALLOC_MMAP_THRESHOLD_="4096")

    assert faults() < 0.1 * given_back
