"""Bundles that are nearly right: bytes, arrays, values of the description, files swapped, missing or linked.

Of most the checksums are made right again, as a wrong writer or somebody with bad intent would do; a change of the
others has to be seen. Each is opened and asked once in another process, which is replaced after some hundred: that it
dies, or does not come back, is a failure like any other.
"""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import weakref
from pathlib import Path

from harness import Fuzz, highest_memory, main
from model_folders import ODD, changed, flipped, path_in, raw

from lwa_core import LwaError

BASES = {}
"""Name of a bundle -> where it is. Whoever fills it before `open_` gets no others."""
DESCRIPTION, NETWORK = "bundle.json", "network.onnx"
SMALL = " with a small network"
BATCH = 500
"""Inputs until the process that asks is replaced by a new one."""
ASKING = []
MEMORY = 6 * 2**30
"""Bytes that the process that asks may take: more is an error in it, and not the end of the machine."""
HISTORY = ["i0001", "i0002", "i0003"]

NUMBERS = [0, -1, 1, 2, 7, 127, 255, 2**31 - 1, 2**31, 2**40, -(2**63), 1e30, -1e30, float("nan"), float("inf"), 1e-40]
TYPES = ["<f4", "<f2", "|i1", "|u1", "<i4", "<i8", "<f8", ">f4", ">i8", "<c8", "|b1", "<U3"]
HEADERS = [
    *(
        "{'descr': '|O', 'fortran_order': False, 'shape': (3,), }",
        "{'descr': '<f4', 'fortran_order': True, 'shape': ()}",
    ),
    *("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 64), }", "{", "None", "[" * 300, "('a', 1)"),
    *("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 4), }", "{'descr': [('a', '<f4')], 'fortran_order': 0}"),
]


def open_():
    """Bundles of every form: weights and tables of each precision, a prior, times, a mask, an index."""
    if BASES:
        return
    import numpy as np
    import polars as pl

    import lwa_core

    rng = np.random.default_rng(0)
    held = Path(tempfile.mkdtemp(prefix="lwa-bundles-"))

    def frame(items, users):
        drawn = [np.arange(items), rng.integers(0, items, 12 * users - items)]
        names = [f"i{item:04d}" for item in rng.permutation(np.concatenate(drawn))]
        users = np.repeat(np.arange(users), 12)
        return pl.DataFrame({"user": users, "item": names, "time": np.arange(len(users)) * 1000})

    small = {"layers": 2, "width": 16, "max_length": 8, "epochs": 1, "batch": 64}
    few, many = frame(40, 60), frame(6000, 1500)
    plain = lwa_core.fit(few, **small, block="gated", prior="transitions")
    timed = lwa_core.fit(few, timestamp="time", **small, times=True)
    masked = lwa_core.fit(few, **small, objective="masked")
    indexed = lwa_core.fit(many, **small)
    lwa_core.export_bundle(plain, held / "prior", index=False)
    lwa_core.export_bundle(timed, held / "timed", weights="int4", index=False)
    lwa_core.export_bundle(masked, held / "masked", table="float16", index=False)
    lwa_core.export_bundle(indexed, held / "indexed", weights="int8", table="int8", index=True, recall=0.0)
    for path in list(held.iterdir()):
        with_small_network(path, held / f"{path.name}{SMALL}")
    BASES.update({path.name: path for path in held.iterdir()})


def with_small_network(folder, target):
    """The bundle with a graph of three nodes, which opens in a tenth of the time: the other files are what counts."""
    from onnx import TensorProto, helper

    from lwa_core.store.checksums import checksums

    shutil.copytree(folder, target)
    said = json.loads((target / DESCRIPTION).read_text("utf-8"))
    nodes = [
        helper.make_node("Unsqueeze", ["last", "one"], ["places"]),
        helper.make_node("GatherND", ["rows", "places"], ["row"], batch_dims=1),
        helper.make_node("Identity", ["row"], ["state"]),
    ]
    inputs = [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["batch", "time", said["width"]])]
    inputs += [helper.make_tensor_value_info("last", TensorProto.INT64, ["batch"])]
    if said["times"]:
        inputs += [helper.make_tensor_value_info("times", TensorProto.INT64, ["batch", "time"])]
    output = helper.make_tensor_value_info("state", TensorProto.FLOAT, ["batch", said["width"]])
    one = helper.make_tensor("one", TensorProto.INT64, [1], [1])
    graph = helper.make_graph(nodes, "last", inputs, [output], [one])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (target / NETWORK).write_bytes(made.SerializeToString())
    said["files"] = dict(checksums(target, but=DESCRIPTION))
    (target / DESCRIPTION).write_text(json.dumps(said), "utf-8")


def make(rng):
    base = rng.choice([name for name in sorted(BASES) if not name.endswith(SMALL)])
    files = sorted(path.relative_to(BASES[base]).as_posix() for path in BASES[base].rglob("*") if path.is_file())
    edits = [edit(rng, BASES[base], files) for _ in range(rng.choice([1, 1, 1, 2, 3]))]
    if not any(NETWORK in each for each in edits) and f"{base}{SMALL}" in BASES:
        base = f"{base}{SMALL}"
    return json.dumps({"base": base, "right": rng.random() < 0.8, "edits": edits}), 1


def edit(rng, folder, files):
    """One change, as JSON."""
    kind = rng.choice(
        ["value"] * 5
        + ["bytes"] * 6
        + ["numbers"] * 4
        + ["graph"] * 3
        + ["shape"] * 2
        + ["raw", "cut", "insert", "head", "swap", "remove", "copy", "link", "folder"]
    )
    arrays = [name for name in files if name.endswith(".npy")]
    graph = [NETWORK] * (len(files) // 2)  # more often than any other
    if kind == "value":
        document = json.loads((folder / DESCRIPTION).read_text("utf-8"))
        document.pop("files" if rng.random() < 0.8 else "provenance")
        return [kind, DESCRIPTION, path_in(rng, document), rng.choice(["set", "drop"]), rng.choice(ODD)]
    among = {"numbers": arrays, "shape": arrays, "head": arrays, "raw": [DESCRIPTION], "bytes": files + graph}
    among |= {"graph": [NETWORK], "insert": files + graph, "cut": files + graph}
    how = {
        "raw": [rng.random(), rng.choice(["NaN", "9" * 5000, "[" * 3000, "{", "]", '"', "\0", "\ufeff", "\\ud800"])],
        "bytes": [[[rng.random() ** rng.choice([1, 3]), rng.randrange(256)] for _ in range(rng.choice([1, 1, 5, 50]))]],
        "cut": [rng.choice([0.0, 0.001, 0.1, rng.random(), 0.999])],
        "insert": [rng.random(), rng.choice([1, 2, 8, 64]), rng.randrange(256)],
        "graph": [rng.choice(GRAPH), rng.random(), rng.random(), rng.choice(NUMBERS)],
        "numbers": [[[rng.random(), rng.choice(NUMBERS)] for _ in range(rng.choice([1, 3, 20]))]],
        "shape": [rng.choice(["type", "flat", "turned", "shorter", "longer", "empty"]), rng.choice(TYPES)],
        "head": [rng.choice(HEADERS)],
        "swap": [rng.choice(files)],
        "copy": [rng.choice(["other.json", "ids.json", "prior/more.npy", "network.onnx.data", "a.safetensors"])],
        "link": [rng.choice(["network.onnx", "items.npy", ".", "..", "nothing", "/dev/zero", "/dev/null", "itself"])],
    }
    return [kind, rng.choice(among.get(kind, files)), *how.get(kind, [])]


def numbers(content, places):
    """An array with some of its numbers replaced."""
    import io

    import numpy as np

    array = np.load(io.BytesIO(content))
    flat = array.reshape(-1)
    with np.errstate(all="ignore"):
        for share, number in places:
            flat[int(share * (len(flat) - 1))] = np.array(number).astype(array.dtype)
    return saved(array)


def shape(content, how, kind):
    """The same numbers as another array."""
    import io

    import numpy as np

    array = np.load(io.BytesIO(content))
    made = {
        "type": lambda: array.astype(kind),
        "flat": lambda: array.reshape(-1),
        "turned": lambda: np.asfortranarray(array.T if array.ndim == 1 else array),
        "shorter": lambda: array[:-1],
        "longer": lambda: np.concatenate([array, array[:1]]),
        "empty": lambda: array[:0],
    }
    with np.errstate(all="ignore"):
        return saved(made[how]())


def saved(array):
    import io

    import numpy as np

    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def graph(content, how, place, other, number):
    """A graph that is still one of ONNX, with one thing in it changed."""
    import onnx
    from onnx import helper

    made = onnx.load_from_string(content)
    nodes, held = made.graph.node, made.graph.initializer

    def drawn(several, share):
        return several[int(share * (len(several) - 1))]

    node = drawn(nodes, place)
    if how == "operation":
        node.op_type = drawn(nodes, other).op_type
    elif how == "input":
        node.input[int(other * (len(node.input) - 1))] = drawn([*held, *made.graph.input], other).name
    elif how == "output":
        node.input[0] = drawn(nodes, other).output[0]
    elif how == "attribute":
        named = [each for each in nodes if each.attribute and each.op_type not in ABORTING]
        number_of = drawn(named, place).attribute[0]
        number_of.CopyFrom(helper.make_attribute(number_of.name, int(number) if other < 0.7 else [int(number)] * 2))
    elif how == "dimension":
        dims = drawn([each for each in held if each.dims], place).dims
        dims[int(other * (len(dims) - 1))] = int(number)
    elif how == "numbers":
        array = drawn([each for each in held if each.raw_data], place)
        array.raw_data = numbered(array.raw_data, other, number)
    elif how == "left out":
        del nodes[int(place * (len(nodes) - 1))]
    elif how == "version":
        made.opset_import[0].version = int(number)
    return made.SerializeToString()


ABORTING = ("GatherND",)
"""ONNX Runtime 1.32 aborts the process at the first request where `batch_dims` of it is -2^63; the README says more."""
GRAPH = ("operation", "input", "output", "attribute", "dimension", "numbers", "left out", "version")


def numbered(content, share, number):
    """Eight bytes that are a whole number, often a size or an index."""
    place = int(share * max(0, len(content) - 8)) // 8 * 8
    return (content[:place] + int(number).to_bytes(8, "little", signed=True) + content[place + 8 :])[: len(content)]


def head(content, text):
    """An array with another head."""
    padded = text.encode() + b"\n"
    return (
        content[:8]
        + len(padded).to_bytes(2, "little")
        + padded
        + content[10 + int.from_bytes(content[8:10], "little") :]
    )


CONTENT = {
    "value": lambda content, *how: json.dumps(changed(json.loads(content), *how)).encode("utf-8", "surrogatepass"),
    "raw": raw,
    "bytes": flipped,
    "cut": lambda content, share: content[: int(share * len(content))],
    "insert": lambda content, share, count, byte: raw_bytes(content, share, bytes([byte]) * count),
    "numbers": numbers,
    "graph": graph,
    "shape": shape,
    "head": head,
}


def raw_bytes(content, share, more):
    place = int(share * len(content))
    return content[:place] + more + content[place:]


def apply(folder, made):
    """Make one change; what no longer finds its place changes nothing."""
    kind, name, *how = made
    file = folder / name
    if not file.is_file():  # a link to what never ends, made before
        return
    content = file.read_bytes()
    if kind in CONTENT:
        file.write_bytes(CONTENT[kind](content, *how))
        return
    if kind == "copy":
        (folder / how[0]).parent.mkdir(exist_ok=True)
        (folder / how[0]).write_bytes(content)
        return
    if kind == "swap":
        if not (folder / how[0]).is_file():
            return
        other = (folder / how[0]).read_bytes()
    file.unlink()
    if kind == "swap":
        file.write_bytes(other)
        (folder / how[0]).write_bytes(content)
    elif kind == "link":
        file.symlink_to(file if how[0] == "itself" else how[0])
    elif kind == "folder":
        file.mkdir()


def mutated(told, target):
    """Write the bundle that an input describes."""
    from lwa_core.store.checksums import checksums

    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(BASES[told["base"]], target)
    for each in told["edits"]:
        try:
            apply(target, each)
        except Exception:  # numpy alone has a dozen
            continue  # one change took away what the next one was to change, or makes no sense here
    if told.get("right") and (target / DESCRIPTION).is_file():
        try:
            said = json.loads((target / DESCRIPTION).read_text("utf-8"))
            said["files"] |= checksums(target, but=DESCRIPTION)
            (target / DESCRIPTION).write_text(json.dumps(said), "utf-8", "surrogatepass")
        except (ValueError, KeyError, TypeError, RecursionError, OSError, AttributeError):
            pass  # there is nothing to be made right


def attempt(made, folder):
    try:
        told = json.loads(made)
        BASES[told["base"]], told["edits"][0]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return "not an input"
    mutated(told, folder / "bundle")
    if not ASKING or ASKING[0].asked >= BATCH or ASKING[0].process.poll() is not None:
        ASKING[:] = [Asking()]
    return ASKING[0].ask(folder / "bundle")


class CrashedError(Exception):
    """The process that asked is no more."""


class FailedError(Exception):
    """The product raised something that is not its own."""


class Refused(LwaError):  # noqa: N818
    """What the product said in the other process."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class Asking:
    """A process that opens bundles and asks them."""

    def __init__(self):
        words = [sys.executable, __file__, "--asking"]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.asked = 0
        weakref.finalize(self, self.process.kill)

    def ask(self, folder):
        self.asked += 1
        try:
            print(folder, file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BaseException:  # it took too long: it is not to answer the next one with this one's answer
            self.process.kill()
            raise
        if not line:
            status = self.process.wait()
            raise CrashedError(signal.Signals(-status).name if status < 0 else f"exit code {status}")
        said, *words = json.loads(line)
        if said == "refused":
            raise Refused(*words)
        if said == "failed":
            raise FailedError(*words)
        return said


def asked_once(folder):
    """Open the bundle and ask it; what comes back has the form of an answer."""
    import lwa_core

    served = lwa_core.open_bundle(folder)
    times = [1000, 2000, 3000] if served.uses_times else None
    answer = served.recommend(HISTORY, 3, times, time_unit="ms")
    assert len(answer.items) == len(answer.scores) <= 3
    assert set(answer.items) <= set(served.ids)  # by a wrong order of the ids, some are not found any more
    assert list(answer.scores) == sorted(answer.scores, reverse=True)
    assert all(abs(score) < float("inf") for score in answer.scores)
    if served.titles is not None:
        assert all(isinstance(title, str) for title in served.titles[:3])
    return "fell back" if answer.trace.fell_back else "answers" if answer.trace.exact else "answers by the index"


def asking():
    """Answer for each folder that is named on stdin."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    said, sys.stdout = os.fdopen(os.dup(1), "w"), sys.stderr
    for line in sys.stdin:
        before = highest_memory()
        try:
            found = [asked_once(Path(line.rstrip("\n")))]
        except LwaError as error:
            found = ["refused", getattr(error, "code", type(error).__name__), str(error)]
        except Exception as error:
            found = ["failed", f"{type(error).__name__}: {' '.join(str(error).split())[:300]} {place(error)}"]
        if highest_memory() - before > 1000:
            found = ["failed", f"memory grew by {highest_memory() - before:.0f} MB"]
        print(json.dumps(found), file=said, flush=True)


def place(error):
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"in {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"


FUZZ = Fuzz(make, attempt, "bundles", open_)

if __name__ == "__main__":
    if sys.argv[1:] == ["--asking"]:
        asking()
    else:
        main("bundles", __doc__, 20_000)
