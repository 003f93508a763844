"""A queue with one worker: several people ask at once, one thing is made at a time.

Networks and pictures want the whole machine, and one thread that touches them needs no locks.
"""

import queue
import secrets
import sys
import threading
import traceback
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

WAITING = 32  # jobs in the queue; who comes then is told to come again
KEPT = 256  # finished jobs that can still be asked after


class Full(Exception):
    """The queue holds as many jobs as it may."""


class Job:
    """Something to be made. `done` is set when `result` or `message` is there."""

    def __init__(self, work: Callable[[], Any]):
        self.id = secrets.token_urlsafe(12)
        self.work = work
        self.done = threading.Event()
        self.result: Any = None
        self.message = ""  # what went wrong, in words

    def run(self) -> None:
        try:
            self.result = self.work()
        except (ValueError, OSError) as error:
            self.message = " ".join(str(error).split())
        except MemoryError:
            self.message = "this takes more memory than there is"
        except Exception:  # one request must not end the others
            traceback.print_exc(file=sys.stderr)
            self.message = "this failed for a reason that is not yours; the server's log says more"
        finally:
            self.work = None  # and what it holds on to
            self.done.set()


class Jobs:
    """Jobs in the order they came."""

    def __init__(self, waiting: int = WAITING, kept: int = KEPT):
        self._queue: queue.Queue[Job] = queue.Queue(waiting)
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._kept, self._lock = kept + waiting, threading.Lock()
        threading.Thread(target=self._work, daemon=True).start()

    def submit(self, work: Callable[[], Any]) -> Job:
        """A job for `work`, which tells what is wrong by a ValueError. Raises Full."""
        job = Job(work)
        with self._lock:
            try:
                self._queue.put_nowait(job)
            except queue.Full as error:
                raise Full from error
            self._jobs[job.id] = job
            while len(self._jobs) > self._kept:
                self._jobs.popitem(last=False)
        return job

    def find(self, name: str) -> Job | None:
        return self._jobs.get(name)

    def ahead(self, job: Job) -> int:
        """How many jobs that are not done came before this one."""
        with self._lock:
            count = 0
            for other in self._jobs.values():
                if other is job:
                    return count
                count += not other.done.is_set()
        return 0

    def _work(self) -> None:
        while True:
            self._queue.get().run()
