"""The reference connector, which adds jobs, and the states of the jobs in Redis."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from redis import Redis

from tests.support.redis_server import PASSWORD, RedisServer


class Producer:
    """The reference connector, in a process of Node.js."""

    def __init__(self, folder: Path, redis: RedisServer, queue: str) -> None:
        """Start it.

        Args:
            folder: Where it is installed, with `produce.js`.
            redis: The Redis server.
            queue: The queue's name.
        """
        self._process = subprocess.Popen(
            [shutil.which("node") or "node", "produce.js", str(redis.port), PASSWORD, queue],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def send(self, *messages: dict[str, Any]) -> None:
        """Add a job for each message, and wait until they are there."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(messages) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if answer != "sent\n":
            raise RuntimeError(f"the connector did not send: {answer}")

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


class States:
    """The states of a queue's jobs."""

    def __init__(self, redis: RedisServer, queue: str) -> None:
        """Connect to Redis."""
        self._redis = Redis(port=redis.port, password=PASSWORD, decode_responses=True)
        self._queue = queue

    def counts(self) -> dict[str, int]:
        """Return how many jobs are in each state that has any."""
        found = {state: len(self._ids(state)) for state in ("wait", "active", "delayed", "completed", "failed")}
        return {state: number for state, number in found.items() if number}

    def are_all_completed(self) -> bool:
        """Return whether every job is completed."""
        return self.counts().keys() == {"completed"}

    def are_all_finished(self) -> bool:
        """Return whether every job is completed or failed."""
        return self.counts().keys() <= {"completed", "failed"}

    def event_ids(self, state: str) -> set[str]:
        """Return the ids that the events of the jobs in a state must have."""
        return {f"bullmq:{self._queue}:{one}:{self._timestamp(one)}" for one in self._ids(state)}

    def _timestamp(self, job_id: str) -> Any:
        return self._redis.hget(f"bull:{self._queue}:{job_id}", "timestamp")

    def _ids(self, state: str) -> list[str]:
        key = f"bull:{self._queue}:{state}"
        found: Any = self._redis.lrange(key, 0, -1) if state in ("wait", "active") else self._redis.zrange(key, 0, -1)
        return list(found)
