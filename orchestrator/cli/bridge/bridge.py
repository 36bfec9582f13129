"""The bridge: takes jobs off a BullMQ queue, sends each job's event to SQS, and then completes the job.

If a bridge is killed before it completes a job, the job stays locked in Redis until the lock expires. Then another
bridge takes the job, and sends the event again. The id is the same, so the function recognises the repeat.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from orchestrator import telemetry
from orchestrator.cli.bridge.event_message import EventMessage, convert
from orchestrator.cli.bridge.jobs import JobLost, Jobs
from orchestrator.cli.bridge.service import Service, wait_seconds
from orchestrator.errors import InvalidEvent, OrchestratorError, shown

# ECS and Kubernetes kill a container 30 seconds after they have asked it to stop.
_STOP_SECONDS = 20


class Bridge:
    """Sends the events of a BullMQ queue's jobs to SQS, until `stop` is called.

    Attributes:
        redis: The state of Redis: whether it answers.
        sqs: The state of SQS: whether it accepts messages. Until a message has failed, SQS is assumed to accept them.
    """

    def __init__(self, jobs: Jobs, send: Callable[[EventMessage], None], concurrency: int) -> None:
        """Store the arguments.

        Args:
            jobs: The queue's jobs.
            send: Sends a message to SQS. It is called in threads. It raises `InvalidEvent` if SQS would never accept
                the message, and another `OrchestratorError` if a later try may succeed.
            concurrency: How many unfinished jobs the bridge may have at the same time. If it has as many, it takes no
                further job, for example while SQS is down.
        """
        self.redis, self.sqs = Service("Redis"), Service("SQS")
        self.sqs.worked()
        self._jobs = jobs
        self._send = send
        self._free = asyncio.Semaphore(concurrency)
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="send")
        self._stopping = asyncio.Event()
        self._held: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Send events until `stop` is called. Then finish the jobs that were taken, or put them back into the queue.

        If that takes too long, return. The unfinished jobs return to the queue when their locks expire.
        """
        tending = asyncio.create_task(self._jobs.tend())
        try:
            while not self._stopping.is_set():
                await self._take()
            await self._finish_held()
        finally:
            tending.cancel()
            self._threads.shutdown(wait=False, cancel_futures=True)
            await self._jobs.close()

    async def stop(self) -> None:
        """Make the bridge take no more jobs, and make `run` finish."""
        self._stopping.set()
        await self._jobs.stop_taking()

    async def _take(self) -> None:
        await self._free.acquire()
        job, tries = None, 0
        while job is None and not self._stopping.is_set():
            try:
                job = await self._jobs.take()
            except Exception as error:  # also those of a library that meets a broken connection
                tries += 1
                self.redis.failed(error)
                await self._stops_within(wait_seconds(tries))
            else:
                tries = 0
                self.redis.worked()
        if job is None:
            self._free.release()
            return
        task = asyncio.create_task(self._handle(job))
        self._held.add(task)
        task.add_done_callback(self._held.discard)

    async def _finish_held(self) -> None:
        if not self._held:
            return
        telemetry.logger.info(f"stopping; {len(self._held)} BullMQ jobs are still held")
        _, unfinished = await asyncio.wait(self._held, timeout=_STOP_SECONDS)
        if unfinished:
            telemetry.logger.warning(f"{len(unfinished)} BullMQ jobs come back when their locks have expired")

    async def _handle(self, job: Any) -> None:
        try:
            await self._forward(job)
        except Exception as error:
            text = str(error) if isinstance(error, OrchestratorError) else "it comes back when its lock has expired"
            telemetry.logger.error(f"BullMQ job {shown(job.id)} failed: {text}", error=type(error).__name__)
        finally:
            self._jobs.let_go(job)
            self._free.release()

    async def _forward(self, job: Any) -> None:
        try:
            if job.deferredFailure:
                raise InvalidEvent(job.deferredFailure)
            message = convert(self._jobs.queue, job.id, job.timestamp, job.data)
            is_sent = await self._is_sent(message)
        except InvalidEvent as error:
            reason = str(error)
            if await self._is_moved(partial(self._jobs.fail, job, reason)):
                telemetry.logger.error(f"BullMQ job {shown(job.id)} was moved to the failed ones: {reason}")
            return
        move = self._jobs.complete if is_sent else self._jobs.give_back
        if await self._is_moved(partial(move, job)):
            telemetry.logger.info(
                f"BullMQ job {shown(job.id)} " + ("is completed: SQS has its event" if is_sent else "was given back"),
                correlation_id=message.event_id,
                event_type=message.event_type,
            )

    async def _is_sent(self, message: EventMessage) -> bool:
        """Send a message; after a failure, try again until the bridge stops.

        Return True once SQS has confirmed the message; False if the bridge stopped before that.

        Raises:
            InvalidEvent: SQS would never accept the message.
        """
        tries = 0
        while True:
            try:
                await asyncio.get_running_loop().run_in_executor(self._threads, self._send, message)
            except InvalidEvent:
                raise
            except OrchestratorError as error:
                tries += 1
                self.sqs.failed(error)
                if await self._stops_within(wait_seconds(tries)):
                    return False
            else:
                self.sqs.worked()
                return True

    async def _is_moved(self, move: Callable[[], Awaitable[None]]) -> bool:
        """Change a job's state in Redis; after a failure, try again until the bridge stops.

        Return True once Redis has confirmed the change. Return False if the bridge no longer holds the job's lock (see
        `JobLost`), or if the bridge stopped first.

        Args:
            move: Requests the change, for example with `Jobs.complete`.
        """
        tries = 0
        while True:
            try:
                await move()
            except JobLost as error:
                telemetry.logger.warning(str(error), error=type(error).__name__)
                return False
            except Exception as error:  # also those of a library that meets a broken connection
                tries += 1
                self.redis.failed(error)
                if await self._stops_within(wait_seconds(tries)):
                    return False
            else:
                self.redis.worked()
                return True

    async def _stops_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return False
        return True
