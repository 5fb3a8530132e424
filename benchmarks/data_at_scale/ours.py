"""Read, filter and split one file, and say what it took: `ours.py FILE`, in a process of its own."""

import argparse
import json
import resource
import time
from pathlib import Path

from lwa_core.data.dataset import test_digest
from lwa_core.data.prepare import prepare
from lwa_core.data.sections import Filter, Split
from lwa_core.plugins.registry import Registry

MEGABYTE = 1e6


def peak():
    """Highest resident size of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEGABYTE


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--core", type=int, default=5)
    asked = parser.parse_args()
    import polars  # noqa: F401 - so that the baseline holds what any run holds

    table = Registry.discover().find("dataset", "table").load()
    before, wall, cpu = peak(), time.perf_counter(), time.process_time()
    source = table(path=str(asked.file), timestamp="timestamp", rating="rating")
    data = prepare(source.read(), Filter(user_core=asked.core, item_core=asked.core), Split(), 0)
    took = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    counts = {"users": data.users, "items": len(data.catalogue), "events": len(data.items)}
    print(json.dumps({**took, "peak_mb": peak(), "baseline_mb": before, **counts, "test_digest": test_digest(data)}))
