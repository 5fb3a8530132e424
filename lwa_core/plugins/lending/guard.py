"""Plugins are lent things and give them back unchanged: looked at after each of their calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from lwa_core.errors import PluginError
from lwa_core.plugins.lending.models import Contents, ModelWatch, version
from lwa_core.plugins.lending.output import printing_to_stderr
from lwa_core.plugins.lending.process import NUMERIC, ProcessState, seed_all

HINT = "a plugin gives back what it is lent as it was; docs/plugins.md says what it may change"

Arrays: TypeAlias = "NDArray[Any] | Sequence[NDArray[Any]]"

SHOWN = 5
"""Changes that a message lists."""


@contextmanager
def own_process_state(who: str, seed: int) -> Iterator[ProcessState]:
    """Run somebody else's code with seeded global generators, and put back what all code of the process shares.

    What it draws from the global generators of torch, numpy and `random` follows from `seed`, and disturbs nobody:
    their states are put back. Anything else that it leaves changed (grad mode, default dtype, threads …) is put back,
    too, and is an error.

    Args:
        who: The component and its provider, for the message.
        seed: Of the generators inside.

    Raises:
        PluginError: Something was left changed.
    """
    with untouched_process(who) as before:
        seed_all(seed)
        yield before


@contextmanager
def untouched_process(who: str) -> Iterator[ProcessState]:
    """Put back what all code of the process shares; what was left changed, other than generators, is an error.

    What is printed inside goes to stderr.

    Raises:
        PluginError: Something was.
    """
    before = ProcessState.now()
    try:
        with printing_to_stderr():
            yield before
        changed = before.changes()
    finally:
        before.restore()
    if changed:
        refuse(who, [f"the {name} of the process" for name in changed])


class Loan:
    """What one component is lent, or several that are called in turn.

    Args:
        who: The component and its provider; several, where it is not known which it was.
        models: Networks, by what a message calls them.
        arrays: Arrays of numbers, or lists of arrays of one type, likewise.
        objects: Objects with attributes that the core relies on, and their names: by what a message calls the object.
        process: The process's state before the loan.
    """

    def __init__(
        self,
        who: str,
        process: ProcessState,
        *,
        models: Mapping[str, torch.nn.Module] | None = None,
        arrays: Mapping[str, Arrays] | None = None,
        objects: Mapping[str, tuple[object, Sequence[str]]] | None = None,
    ) -> None:
        self.who, self.process = who, process
        self.models = {name: ModelWatch(model) for name, model in (models or {}).items()}
        self.arrays = {name: (held, _copied(held)) for name, held in (arrays or {}).items()}
        self.objects = {name: (held, _attributes(held, names)) for name, (held, names) in (objects or {}).items()}

    def changes(self) -> list[str]:
        """What is different now."""
        found = [f"{what} (of {name})" for name, watch in self.models.items() for what in watch.changes()]
        for name, (held, before) in self.arrays.items():
            if not np.array_equal(_copied(held), before, equal_nan=before.dtype.kind == "f"):
                found.append(f"the values of {name}")
        for name, (thing, known) in self.objects.items():
            now = _attributes(thing, list(known))
            found += [f"`{key}` of {name}" for key in known if _differ(known[key], now[key])]
        return found

    def check(self, who: str | None = None) -> None:
        """Raise PluginError, which names `who`, where something is different."""
        changed = self.changes()
        if changed:
            refuse(who or self.who, changed)

    def counted(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Every tensor of the models, by its name: torch counts what is written to it."""
        return ((f"{held}", held.tensor) for watch in self.models.values() for held in watch.tensors)

    def check_process(self, who: str) -> None:
        """Raise PluginError where what all code of the process shares is different."""
        changed = [f"the {name} of the process" for name in self.process.changes()]
        if changed:
            refuse(who, changed)

    def check_answers(self) -> None:
        """The same in the middle of a call, for what decides what the model answers just then."""
        changed = self.changes()
        changed += [f"the {name} of the process" for name in self.process.changes() if name in NUMERIC]
        if changed:
            refuse(self.who, [f"{what}, and asked about layers" for what in changed])


@contextmanager
def lent(who: str, seed: int, **things: Any) -> Iterator[Loan]:
    """Lend things to a component, and see afterwards that all is as it was.

    Args:
        who: The component and its provider.
        seed: Of the global generators inside.
        things: `models`, `arrays` and `objects`, as for `Loan`.

    Raises:
        PluginError: Something is different; the message says what.
    """
    with own_process_state(who, seed) as process:
        loan = Loan(who, process, **things)
        yield loan
        loan.check()


class Shown:
    """Tensors that are shown to several components, one after the other, and must not be written to.

    Args:
        tensors: By what a message calls them.
        thorough: Whether contents can be compared, too: writes through `.data` or numpy are counted by nobody.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor], thorough: bool) -> None:
        self.names = list(tensors)
        self.tensors = list(tensors.values())
        self.versions = [version(tensor) for tensor in self.tensors]
        self.contents = Contents(self.tensors) if thorough else None

    def check(self, who: str, *, thorough: bool = False) -> None:
        """Raise PluginError where one was written to, as far as torch counts; with `thorough` in any way."""
        written = [
            name
            for name, tensor, before in zip(self.names, self.tensors, self.versions, strict=True)
            if version(tensor) != before
        ]
        if not written and thorough and self.contents is not None:
            written = [self.names[place] for place in self.contents.changed()]
        if written:
            refuse(who, [f"the values of `{name}`" for name in written])


def refuse(who: str, changed: Sequence[str]) -> NoReturn:
    """Raise PluginError: `who` changed these."""
    more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
    raise PluginError(f"{who} changed {'; '.join(changed[:SHOWN])}{more}", HINT)


def _copied(held: Arrays) -> NDArray[Any]:
    """A copy of an array, or of several, one after the other."""
    return held.copy() if isinstance(held, np.ndarray) else np.concatenate([*held, np.zeros(0, dtype=np.int8)])


def _attributes(held: object, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(held, name, None) for name in names}


def _differ(before: Any, now: Any) -> bool:
    return before is not now and not (isinstance(before, (bool, int, float, str)) and before == now)
