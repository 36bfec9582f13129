"""The settings of a chaos run."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """The settings; `python -m tests.chaos --help` says what each means.

    All other durations are written for invocations of three seconds, and are multiplied by `scale`.
    """

    events: int = 60
    deliveries: int = 0
    seed: int = 1
    workers: int = 4
    pace: float = 4.0
    lock: float = 3.0
    room: int = 1
    failing: float = 0.05
    slow: float = 0.06
    killing: float = 0.04
    apart: float = 0.33

    @property
    def scale(self) -> float:
        return self.lock / 3
