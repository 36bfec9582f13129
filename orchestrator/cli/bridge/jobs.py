"""Takes jobs off a BullMQ queue and finishes them, with the package `bullmq` (https://docs.bullmq.io/python).

A bridge that takes a job locks the job in Redis, and renews the lock until the job is finished. If the bridge is
killed, the lock expires. Every bridge searches for jobs whose locks have expired, and puts them back into the queue.
"""

import asyncio
import time
from collections.abc import Awaitable
from typing import Any

from bullmq import Job, UnrecoverableError, Worker
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from orchestrator import telemetry
from orchestrator.errors import OrchestratorError, shown

# BullMQ waits for a job for up to ten seconds in one request.
_ANSWER_SECONDS = 15
_CONNECT_SECONDS = 5
# By default, BullMQ fails a job whose worker was killed twice. Its event may not have been sent yet.
_ANY_NUMBER = 2**31


class JobLost(OrchestratorError):
    """This bridge no longer holds the job's lock: the lock has expired, or the job was finished or removed."""


class _Worker(Worker):  # type: ignore[misc]  # bullmq has no types
    async def nextJobFromJobData(  # noqa: N802 (bullmq's name)
        self, job_data: Any = None, job_id: Any = None, limit_until: int = 0, delay_until: int = 0, token: Any = None
    ) -> Any:
        """Convert a job from the form in which Redis stores it; return `None` if there is no job.

        If bullmq cannot read the job, for example because its data is nested too deeply, return a job without data. The
        attribute `deferredFailure` of this job says why the job must fail.
        """
        try:
            return await super().nextJobFromJobData(job_data, job_id, limit_until, delay_until, token)
        except (AttributeError, RecursionError, TypeError, ValueError) as error:
            job = Job(self, "", None, {}, job_id)
            job.token = token
            job.deferredFailure = f"it cannot be read ({type(error).__name__}); correct what adds it"
            return job


class Jobs:
    """The jobs of one BullMQ queue. Create it while an event loop runs.

    If Redis cannot be used, the coroutines raise exceptions of redis-py or `OSError`. `tend` and `close` only log them.
    """

    def __init__(self, redis_url: str, queue: str, lock_seconds: int) -> None:
        """Store the arguments. No request is sent to Redis.

        Args:
            redis_url: The URL of the Redis server.
            queue: The queue's name.
            lock_seconds: How long a job stays locked after its bridge has taken it or last renewed the lock.
        """
        self.queue = queue
        self._lock_seconds = lock_seconds
        # One try more, for a connection that Redis has closed meanwhile. A take whose answer was lost leaves a locked
        # job behind, which comes back like that of a killed bridge.
        self._redis = Redis.from_url(
            redis_url,
            decode_responses=True,
            socket_timeout=_ANSWER_SECONDS,
            socket_connect_timeout=_CONNECT_SECONDS,
            retry=Retry(NoBackoff(), 1),
        )
        options = {
            "connection": self._redis,
            "lockDuration": lock_seconds * 1000,
            "maxStalledCount": _ANY_NUMBER,
            "stalledInterval": lock_seconds * 1000,
        }
        self._worker = _Worker(queue, None, options)
        self._worker.on("error", _log_error)
        self._worker.on("stalled", _log_stalled)
        self._tokens = 0

    async def eviction_policy(self) -> str | None:
        """Return the setting `maxmemory-policy` of Redis: which keys Redis deletes when its memory is full.

        BullMQ needs `noeviction`. Return `None` if Redis does not report the setting.
        """
        policy: str | None = (await self._redis.info("memory")).get("maxmemory_policy")
        return policy

    async def tend(self) -> None:
        """Keep renewing this bridge's locks, and putting jobs whose locks have expired back into the queue.

        If this call is cancelled, the locks are still renewed, until `close` is called.
        """
        self._worker.lockManager.start()
        while True:
            await self._worker.runStalledJobsCheck()
            await asyncio.sleep(self._lock_seconds)

    async def take(self) -> Any | None:
        """Take the next job, lock it, and return it. The call may wait some seconds for a job.

        Return `None` if there is still no job then, or if `stop_taking` has ended the wait.
        """
        self._tokens += 1
        job = await self._worker.getNextJob(f"{self._worker.id}:{self._tokens}")
        if job is not None:
            self._worker.lockManager.track_job(job.id, job.token, _now())
        return job

    async def stop_taking(self) -> None:
        """End a call of `take` that is waiting for a job. The call returns `None`."""
        await self._worker.pause(do_not_wait_active=True)
        # bullmq cancels its wait once. That may have no effect: redis-py sends with `asyncio.wait_for`, which before
        # Python 3.12 loses a cancellation that comes as the send ends.
        while self._worker.waiting is not None:
            self._worker.waiting.cancel()
            await asyncio.sleep(0.05)

    async def complete(self, job: Any) -> None:
        """Move a job to BullMQ's completed jobs, or delete it if its option `removeOnComplete` says so.

        Raises:
            JobLost: This bridge no longer holds the job's lock.
        """
        await _moved(job, job.moveToCompleted(None, job.token))

    async def fail(self, job: Any, reason: str) -> None:
        """Move a job to BullMQ's failed jobs, without another attempt.

        The job's option `removeOnFail` is ignored: the job stays in Redis, because its event would otherwise be lost.

        Raises:
            JobLost: This bridge no longer holds the job's lock.
        """
        job.opts.update(removeOnFail=False, stackTraceLimit=0)
        await _moved(job, job.moveToFailed(UnrecoverableError(reason), job.token))

    async def give_back(self, job: Any) -> None:
        """Put a job back into the queue, where any bridge can take it at once. This does not count as an attempt.

        Raises:
            JobLost: This bridge no longer holds the job's lock.
        """
        await _moved(job, job.moveToDelayed(_now(), job.token))

    def let_go(self, job: Any) -> None:
        """Stop renewing a job's lock. If the job is unfinished, it returns to the queue after the lock has expired."""
        self._worker.lockManager.untrack_job(job.id)

    async def close(self) -> None:
        """Stop renewing locks, and close the connections to Redis."""
        await self._worker.lockManager.close()
        await self._worker.close()


async def _moved(job: Any, move: Awaitable[Any]) -> None:
    try:
        await move
    except (TypeError, UnrecoverableError) as error:  # bullmq's errors about the job's state; they hold ids alone
        raise JobLost(f"BullMQ job {shown(job.id)} was not moved: {error}") from None


def _log_error(error: object, *_: object) -> None:
    telemetry.logger.warning(" ".join(str(error).split()), error=type(error).__name__)


def _log_stalled(job_id: str) -> None:
    telemetry.logger.warning(f"BullMQ job {shown(job_id)} is back in the queue: its bridge was killed or lost Redis")


def _now() -> int:
    return int(time.time() * 1000)
