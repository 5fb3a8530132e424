"""Recipes that are nearly right: made from what every component says of its settings, then changed at typed places.

Most are deep: whole recipes with settings inside settings, long lists, dotted keys, overrides, and one to four changes
each. What `lwa check` and `lwa plan` make of the document is done: read, placed, rendered, resolved, digested.
"""

import copy
import json
import string
from functools import cache, lru_cache
from pathlib import Path

import tomli
from harness import Fuzz, main

from lwa_core.bench.document import BenchReader, load_bench
from lwa_core.plugins.registry import Registry
from lwa_core.recipe.locate import render
from lwa_core.recipe.profiles import BUILT_IN, Limits, Profile
from lwa_core.recipe.reader import check_recipe
from lwa_core.recipe.tables import TASKS
from lwa_core.settings import describe
from lwa_core.store.files import digest

ROOT = Path(__file__).parents[2]
BESIDE = "beside.toml"
"""The recipe of every cell of a benchmark."""

MARK = "#--set "
"""Begins a first line that holds an override."""


class Raw(str):
    """Written into the TOML as it is."""

    __slots__ = ()


CHARACTERS = [
    "\0",
    "\x1b[31m",
    "\x07",
    "\r",
    "\u202e",
    "\u2028",
    "\x85",
    "é",
    "𝔘",
    "\ufeff",
    "\\",
    '"',
    "'",
    "%s",
    "{}",
]
ODD = [
    *(0, -1, 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 10**30, 0.0, -0.0, 1e-320, 1.5, 1e308),
    *(
        Raw(text)
        for text in ("inf", "-inf", "nan", "1e400", "0xffff_ffff_ffff_ffff_ffff", "0o17", "0b1", "1_000", "+7")
    ),
    *(Raw(text) for text in ("1979-05-27", "07:32:00", "1979-05-27T07:32:00Z", "1979-05-27 07:32:00.5-07:00")),
    *(True, False, "", " ", "true", "1", "nan", "None", "auto", "..", ".", "/", "~", "~nouser", "~nouser/x", "a" * 300),
    *(
        "/dev/null",
        "/dev/zero",
        "/proc/self/mem",
        "file:///etc/passwd",
        "https://example.org/x",
        "a/" * 3000,
        "[red]x[/]",
    ),
    *([], {}, [[]], [{}], {"": 1}, {"a": {}}, [1, "a"], [True, 1.0]),
]


@lru_cache
def _registry(block):
    return DISCOVER(block=block)


DISCOVER = Registry.discover


def _cached(local=(), block=(), allow_local=True, **more):
    """Installed plugins are looked for once; looking for them is most of the time of a check."""
    return DISCOVER(local, block, allow_local, **more) if local else _registry(tuple(block))


def open_():
    Registry.discover = _cached


@cache
def components(kind):
    found = []
    for offer in _registry(()).components(kind):
        found.append((offer.name, describe(offer.load())))
    return found


@cache
def shipped():
    return [tomli.loads(file.read_text("utf-8")) for file in sorted((ROOT / "recipes").glob("*.toml"))]


def word(rng):
    text = "".join(rng.choice(string.ascii_letters + string.digits + "._- ") for _ in range(rng.randint(1, 12)))
    return text + rng.choice(CHARACTERS) if rng.random() < 0.2 else text


def fitting(rng, told):
    """A value that the setting may have, mostly."""
    if told["choices"]:
        return rng.choice(told["choices"])
    if told["default"] is not None and rng.random() < 0.4:
        return copy.deepcopy(told["default"])
    low = told["bounds"].get("minimum", told["bounds"].get("above", 0))
    kind = told["type"]
    if "list of" in kind and rng.random() < 0.8:
        one = {**told, "type": kind.partition("list of ")[2].replace("integers", "an integer"), "default": None}
        return [fitting(rng, one) for _ in range(rng.choice([1, 1, 2, 3, 40]))]
    values = {
        "integer": lambda: int(low) + rng.randint(0, 5),
        "number": lambda: float(low) + rng.random(),
        "true": lambda: rng.random() < 0.5,
        "": lambda: word(rng),
    }
    return next(value for name, value in values.items() if name in kind)()


def settings(rng, told, share):
    return {each["name"]: fitting(rng, each) for each in told if each["required"] or rng.random() < share}


def component(rng, kind, share):
    name, told = rng.choice(components(kind))
    table = {"use": name if rng.random() < 0.9 else f"lwa-builtins:{name}", **settings(rng, told, share)}
    if kind in ("scorer", "compressor") and rng.random() < 0.5:
        table["name"] = f"n{rng.randint(0, 99)}"
    return table


def whole(rng):
    """A recipe from scratch, or one of those that come with the repository."""
    if rng.random() < 0.15:
        return json.loads(json.dumps(rng.choice(shipped())))
    task = rng.choice(["recommendation", "recommendation", "text"])
    share = rng.choice([0.1, 0.3, 0.7])
    document = {"name": f"r{rng.randint(0, 9)}", "task": task, "seed": rng.randint(0, 9)}
    for table in TASKS[task]:
        if not table.required and rng.random() < 0.3:
            continue
        if table.holds is Profile:
            own = {name: value for name, value in settings(rng, describe(Limits), share).items() if rng.random() < 0.5}
            document[table.name] = [{"use": rng.choice(list(BUILT_IN)), **own}]
        elif isinstance(table.holds, type):
            document[table.name] = settings(rng, describe(table.holds), share)
        elif table.several:
            many = rng.choice([1, 1, 2, 3, 8])
            document[table.name] = [component(rng, table.holds, share) for _ in range(many)]
        else:
            document[table.name] = component(rng, table.holds, share)
    return document


def places(value, path=()):
    """Every place of the document: its parent and its key or index there."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in list(inner):
        yield value, key
        yield from places(member, (*path, key))


def nested(rng, depth):
    """Lists and tables inside each other."""
    value = copy.deepcopy(rng.choice(ODD))
    for _ in range(depth):
        value = [value] if rng.random() < 0.5 else {rng.choice("ab") + rng.choice(["", ".", " ", "é"]): value}
    return value


def odd(rng):
    chance = rng.random()
    if chance < 0.55:
        return copy.deepcopy(rng.choice(ODD))
    if chance < 0.75:
        return word(rng) + rng.choice(CHARACTERS)
    if chance < 0.93:
        return nested(rng, rng.choice([1, 2, 3, 8, 30, 49, 50, 51]))
    if chance < 0.97:
        return [copy.deepcopy(rng.choice(ODD)) for _ in range(rng.choice([10, 300]))]
    return rng.choice(["x" * rng.choice([1000, 20_000]), Raw("9" * rng.choice([20, 400, 4400])), nested(rng, 120)])


def misspelt(rng, key):
    key = str(key)
    place = rng.randrange(len(key) + 1)
    return rng.choice(
        [key[:place] + key[place + 1 :], key.upper(), key + "s", key[:place] + rng.choice(CHARACTERS), ""]
    )


def change(rng, document):
    """One change at one place."""
    found = list(places(document))
    if not found:
        document["name"] = odd(rng)
        return
    parent, key = rng.choice(found)
    chance = rng.random()
    if chance < 0.5:
        parent[key] = odd(rng)
    elif chance < 0.65:
        del parent[key]
    elif chance < 0.78 and isinstance(parent, dict):
        parent[misspelt(rng, key)] = parent.pop(key)
    elif chance < 0.86:
        other, place = rng.choice(found)
        parent[key] = json.loads(json.dumps(other[place] if not _gone(other, place) else 1, default=str))
    elif chance < 0.93:
        parent[key] = [parent[key]] if rng.random() < 0.5 else {str(key): parent[key]}
    elif isinstance(parent, list):
        parent += [copy.deepcopy(parent[key]) for _ in range(rng.choice([1, 2, 30]))]
    else:
        parent[word(rng)] = odd(rng)


def _gone(parent, key):
    return key not in parent if isinstance(parent, dict) else key >= len(parent)


BARE = frozenset(string.ascii_letters + string.digits + "_-")


def key_of(key):
    return key if key and BARE.issuperset(key) else json.dumps(key, ensure_ascii=False).replace("\x7f", "\\u007f")


def inline(value):
    if isinstance(value, Raw):
        return value
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key_of(key)} = {inline(member)}" for key, member in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(inline, value))}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)


def written(rng, document):
    """As TOML, in one of its spellings."""
    lines, tables = [], []
    for key, value in document.items():
        chance = rng.random()
        if isinstance(value, dict) and value and chance < 0.8:
            tables += ["", f"[{key_of(key)}]", *(f"{key_of(k)} = {inline(v)}" for k, v in value.items())]
        elif isinstance(value, dict) and value and chance < 0.95:
            lines += [f"{key_of(key)}.{key_of(k)} = {inline(v)}" for k, v in value.items()]
        elif isinstance(value, list) and value and all(isinstance(v, dict) for v in value) and chance < 0.9:
            for entry in value:
                tables += ["", f"[[{key_of(key)}]]", *(f"{key_of(k)} = {inline(v)}" for k, v in entry.items())]
        else:
            lines.append(f"{key_of(key)} = {inline(value)}")
    return rng.choice(["\n", "\n", "\n", "\r\n"]).join([*lines, *tables])


def override(rng, document):
    keys = [(key, *path) for key, path in ((key, ()) for key in document)]
    names = [str(rng.choice(keys)[0]) if keys else "name"]
    inside = document.get(names[0])
    if isinstance(inside, list) and inside:
        names.append(str(rng.randrange(len(inside) + 1)))
        inside = inside[0]
    if isinstance(inside, dict) and inside and rng.random() < 0.9:
        names.append(rng.choice([*map(str, inside), word(rng)]))
    names += ["a"] * rng.choice([0] * 30 + [1, 2, 60, 1200])
    value = inline(odd(rng) if rng.random() < 0.6 else rng.choice([1, 2, 0.5, True, "x"]))
    return rng.choice(["{}={}"] * 20 + ["{}{}", "={}{}", "{}=\n{}"]).format(".".join(names), value)


def bench(rng):
    """A benchmark of small recipes."""
    share = rng.choice([0.1, 0.5])
    cells = [{"recipe": BESIDE, "name": f"c{n}", "set": ["seed=1"]} for n in range(rng.choice([1, 1, 2, 3]))]
    document = {"name": "b", "seeds": rng.choice([[0], [0, 1]]), "cell": cells}
    for table in BenchReader.tables[:-1]:
        if rng.random() < 0.4:
            continue
        if isinstance(table.holds, type):
            document[table.name] = settings(rng, describe(table.holds), share)
        else:
            made = component(rng, table.holds, share)
            document[table.name] = [made] if table.several else made
    return document


def make(rng):
    document = whole(rng) if rng.random() < 0.95 else bench(rng)
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3, 4])):
        change(rng, document)
    text = written(rng, document)
    sets = [override(rng, document) for _ in range(rng.choice([0, 0, 0, 1, 2]))]
    data = "".join(f"{MARK}{json.dumps(each)}\n" for each in sets) + text
    if rng.random() < 0.1:  # and some damage below the grammar
        place = rng.randrange(len(data) + 1)
        data = (
            data[:place]
            + rng.choice([*CHARACTERS, "[", "]", "=", "\n", '"""', "#", "[[x]]"])
            + data[place + rng.choice([0, 1, 9]) :]
        )
    return data.encode("utf-8", "surrogatepass"), 1


def overrides_of(data):
    found = []
    for line in data.decode("utf-8", "replace").split("\n"):
        if line.startswith(MARK):
            try:
                found.append(str(json.loads(line.removeprefix(MARK))))
            except (ValueError, RecursionError):
                continue
    return found


def attempt(data, folder):
    file = folder / "recipe.toml"
    file.write_bytes(data)
    if b"[[cell]]" in data:
        (folder / BESIDE).write_bytes((ROOT / "recipes" / "quickstart.toml").read_bytes())
        load_bench(file)
        return "accepted"
    recipe, problems = check_recipe(file, overrides_of(data))
    if recipe is None:
        told = render(problems)
        assert problems, "neither a recipe nor a problem"
        assert all(
            problem.line is not None or problem.file != str(file) or problem.code in NO_LINE for problem in problems
        ), told
        return problems[0].code
    digest(recipe.resolved())
    for use in recipe.uses:
        recipe.line(use.path)
    return "accepted"


NO_LINE = {"not-utf8", "empty", "no-file", "too-large"}

FUZZ = Fuzz(make, attempt, "recipes", open_)

if __name__ == "__main__":
    main("recipes", __doc__, 1_000_000)
