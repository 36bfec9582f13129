"""Fills the emulated AWS once in a process; later tests get a copy, which is many times as fast."""

import copy
import copyreg
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from threading import Condition
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from moto.core.base_backend import BackendDict

T = TypeVar("T")

# A queue of moto has a condition. Nothing waits for it while a copy is made.
copyreg.pickle(Condition, lambda _: (Condition, ()))


@dataclass(frozen=True, slots=True)
class _Filled:
    """What a function left in moto's backends, and what it returned."""

    backends: list[tuple[Any, str, str, Any]]
    result: Any

    def copy(self) -> "_Filled":
        """Copy all together, as a resource of a stack is also one of its own service."""
        memo: dict[int, Any] = {}
        states, result = copy.deepcopy(([state for *_, state in self.backends], self.result), memo)
        for state in states:
            if functions := getattr(state, "_lambdas", None):
                # The copy of such a dictionary has the values of the original.
                kept = {arn: memo[id(function)] for arn, function in functions._arns.items()}
                functions._arns = WeakValueDictionary(kept)
        places = [place for *place, _ in self.backends]
        return _Filled([(*place, state) for place, state in zip(places, states, strict=True)], result)


_filled: dict[Hashable, _Filled] = {}


def filled(key: Hashable, fill: Callable[[], T]) -> T:
    """Run `fill` in an empty account; with the same key again, restore what it left in moto, and what it returned."""
    if key not in _filled:
        result = fill()
        moto: Any = BackendDict
        in_use = [(backends, *found) for backends in moto._instances for found in backends.iter_backends()]
        _filled[key] = _Filled(in_use, result).copy()
        return result
    again = _filled[key].copy()
    for backends, account, region, state in again.backends:
        backends[account][region] = state
    restored: T = again.result
    return restored
