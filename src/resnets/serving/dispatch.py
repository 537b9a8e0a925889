"""The queue before the worker, and the worker's life: started, watched, replaced.

Images wait here, where they cost nothing and can be withdrawn, and not in the worker, which is
given only as many as it can decode while the network is busy, and one explanation at a time. What a
request holds goes to one worker as a whole, so that one model answers all of it.
"""

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from resnets.console import warn
from resnets.errors import ResnetsError
from resnets.serving.messages import Head
from resnets.serving.metrics import Metrics
from resnets.serving.process import Process
from resnets.serving.refusals import Refusal, busy
from resnets.serving.settings import Settings
from resnets.serving.watching import fingerprint

TICK = 0.25
"""Seconds between two looks at the worker."""
LOOKS = 4
"""Ticks between two looks at the run's files."""
LONGEST_PAUSE = 30.0
"""Seconds between two starts of a worker that ends again before it is ready."""

Part = tuple[Head, bytearray]
"""One image of a request, and what is asked of it."""


class Job:
    """The images of one request."""

    def __init__(self, parts: Sequence[Part], *, explains: bool) -> None:
        self.parts = list(parts)
        self.count = len(parts)
        self.explains = explains
        self.timer: asyncio.TimerHandle | None = None
        """Until when it has to be answered."""
        self.done: asyncio.Future[tuple[str, list[Head]]] = (
            asyncio.get_running_loop().create_future()
        )
        """The model's sums and the answer for each image."""
        self.process: Process | None = None
        self.given = 0.0
        """When that worker got it, by the loop's clock."""
        self.numbers: list[int] = []
        self.answers: dict[int, Head] = {}

    @property
    def held(self) -> list[int]:
        """The numbers of its images that its worker has not answered."""
        if self.process is None or self.process.ended.is_set():
            return []
        return [number for number in self.numbers if number in self.process.waiting]


class Dispatch:
    """Takes jobs, and gives them to whichever worker serves at that moment."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.settings = settings
        self.limits = settings.limits
        self.metrics = metrics
        self.stopping = False
        self.failed: Callable[[BaseException], None] = lambda bug: None
        """Told of an error of ours, without which nobody would look after the worker any more."""
        self.process: Process | None = None
        """What new jobs go to."""
        self.served: Head = {}
        """The hello of the worker that was the last to begin."""
        self._predictions: dict[Job, None] = {}
        self._explanations: dict[Job, None] = {}
        """The jobs that no worker has, the oldest first."""
        self._open: set[Job] = set()
        """Those that have no answer yet."""
        self._numbers = itertools.count()
        self._reload_asked = False
        self._replacing = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._seen: dict[str, str] = {}

    @property
    def ready(self) -> bool:
        """Whether new requests should come here."""
        return self.able and not self.stopping

    @property
    def able(self) -> bool:
        """Whether a worker is there and alive."""
        return (
            self.process is not None
            and not self.process.ended.is_set()
            and self.process.silence < self.limits.silence_seconds
        )

    @property
    def queued(self) -> int:
        """Images that wait, here or in a worker."""
        return sum(job.count for job in self._open)

    async def start(self) -> None:
        """Start the first worker; raises what its model leads to."""
        self._seen = fingerprint(self.settings.run)
        self._serve(await Process.start(self.settings))
        self._background(self._watch())

    def submit(self, parts: Sequence[Part], *, explains: bool = False) -> Job:
        """Take the images of a request. Raises ``Refusal`` where there is no room."""
        process = self.process
        if process is None or not self.able:
            raise busy("the service is not ready", after=2)
        explanations = len(self._explanations) + len(process.explaining)
        if explains and explanations >= self.limits.explanations:
            raise busy(f"{explanations} explanations are being made", after=5)
        if self.queued + len(parts) > self.limits.queue:
            raise busy(f"{self.queued} images wait already, of at most {self.limits.queue}")
        limits = self.limits
        seconds = limits.explain_seconds if explains else limits.answer_seconds
        job = Job(parts, explains=explains)
        job.timer = asyncio.get_running_loop().call_later(seconds, self._expire, job)
        self._open.add(job)
        (self._explanations if explains else self._predictions)[job] = None
        job.done.add_done_callback(lambda _: self._closed(job))
        self._pump()
        return job

    def withdraw(self, job: Job, refusal: Refusal | None = None) -> None:
        """Nobody waits for a job any more: it leaves the queue, and the worker where it can."""
        if job.done.done():
            return
        self._predictions.pop(job, None)
        self._explanations.pop(job, None)
        if job.process is not None and (held := job.held):
            for number in held:
                job.process.cancel(number)
            self._background(self._await_stalled(job, job.process))
        if refusal is None:
            job.done.cancel()
        else:
            job.done.set_exception(refusal)

    def reload(self) -> None:
        """Look at the run again, and serve what is there if it is sound."""
        self._reload_asked = True

    async def stop(self) -> None:
        """End the worker once all that was accepted is answered."""
        self.stopping = True
        while self._open:
            await asyncio.wait([job.done for job in self._open])
        process, self.process = self.process, None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if process is not None:
            await process.end()

    def kill(self) -> None:
        """End the worker at once."""
        if self.process is not None:
            self.process.kill()

    def _serve(self, process: Process) -> None:
        """New jobs go to that worker from now on; the one before finishes what it has."""
        if self.process is not None:
            self._background(self._retire(self.process))
        self.process = process
        self.served = process.hello
        self._background(self._follow(process))
        self._pump()

    def _pump(self) -> None:
        """Give the worker what it has room for: a batch on the network and one being decoded.

        And one explanation: those that wait here can be withdrawn, and take no prediction's place.
        """
        process = self.process
        if process is None or process.ended.is_set():
            return
        if self._explanations and not process.explaining:
            self._give(self._explanations, process)
        window = 2 * self.limits.batch
        while self._predictions and len(process.waiting) - len(process.explaining) < window:
            self._give(self._predictions, process)

    def _give(self, queue: dict[Job, None], process: Process) -> None:
        job = next(iter(queue))
        del queue[job]
        job.process, job.given = process, asyncio.get_running_loop().time()
        for head, body in job.parts:
            number = next(self._numbers)
            job.numbers.append(number)
            process.send(number, head, body, partial(self._told, job))
            body.clear()  # the pipe has its copy
        job.parts.clear()

    def _told(self, job: Job, answer: Head) -> None:
        if "batch" in answer:
            self.metrics.batches.observe(answer["batch"])
        job.answers[answer["number"]] = answer
        if len(job.answers) == job.count and not job.done.done():
            assert job.process is not None  # noqa: S101
            answers = [job.answers[number] for number in job.numbers]
            job.done.set_result((job.process.model, answers))
        self._pump()

    def _closed(self, job: Job) -> None:
        self._open.discard(job)
        if job.timer is not None:
            job.timer.cancel()
        if not job.done.cancelled():
            job.done.exception()  # it was retrieved, or its client is gone

    async def _follow(self, process: Process) -> None:
        """What to do when a worker ends."""
        await process.ended.wait()
        for job in list(self._open):
            if job.process is process or (self.stopping and job.process is None):
                self.withdraw(job, busy("the worker process was lost", after=2))
        await process.end(at_once=True)
        if process is not self.process or self.stopping:
            return
        self.process = None
        self.metrics.restarts += 1
        warn("serve: the worker process was lost; starting another")
        pause = 0.0
        while True:
            try:
                return self._serve(await Process.start(self.settings))
            except (ResnetsError, OSError) as error:  # also: no memory for a process
                pause = min(LONGEST_PAUSE, max(1.0, 2 * pause))
                warn(f"serve: no worker: {error}\n  trying again in {pause:.0f} s")
                await asyncio.sleep(pause)

    async def _watch(self) -> None:
        for tick in itertools.count():
            await asyncio.sleep(TICK)
            if self.process is not None:
                if self.process.silence > self.limits.stall_seconds:
                    warn("serve: the worker process gives no sign of life and is ended")
                    self.process.kill()
                self.process.ping()
            if tick % LOOKS == 0 or self._reload_asked:
                await self._look()

    def _expire(self, job: Job) -> None:
        """Refuse what could not be answered in time."""
        self.withdraw(job, busy("it could not be answered in time", after=5))

    async def _await_stalled(self, job: Job, process: Process) -> None:
        """End a worker that does not give up what nobody waits for any more: it hangs.

        An explanation that has begun goes on to its end, within its time; of predictions the
        worker may have others before, as long as it answers those.
        """
        loop = asyncio.get_running_loop()
        withdrawn = loop.time()
        while job.held and not process.ended.is_set():
            ends = job.given + self.limits.explain_seconds
            due = ends if job.explains else max(withdrawn, process.answered)
            if loop.time() - due > self.limits.stall_seconds:
                warn("serve: the worker process hangs and is ended")
                return process.kill()
            await asyncio.sleep(TICK)

    async def _look(self) -> None:
        """Serve the run's model if it is another one than before; a bad one leaves the old."""
        found = fingerprint(self.settings.run)
        changed = self._reload_asked or (found != self._seen and found)
        if self._replacing or self.process is None or not changed:
            return
        await asyncio.sleep(TICK)
        if fingerprint(self.settings.run) != found:
            return  # it is being replaced: at the next look
        self._seen, self._reload_asked, self._replacing = found, False, True
        self._background(self._replace())

    async def _replace(self) -> None:
        try:
            new = await Process.start(self.settings)
        except (ResnetsError, OSError) as error:
            warn(f"serve: the new model is not served: {error}\n  the one before goes on")
        else:
            self._serve(new)
            warn(f"serve: model {new.model[:12]} from {new.hello['path']}")
        finally:
            self._replacing = False

    async def _retire(self, process: Process) -> None:
        while process.waiting and not process.ended.is_set():
            await asyncio.sleep(TICK)
        await process.end()

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (bug := task.exception()) is not None:
            self.failed(bug)
