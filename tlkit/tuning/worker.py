"""The process that trials run in, seen from the search: started, fed, watched and replaced.

One warm process does trial after trial, since starting TensorFlow costs more than a cheap trial.
It is a fresh interpreter, never a fork, and it is replaced after a crash, after running out of
memory, when it holds much more than it did, and after every ten trials anyway.
"""

import contextlib
import copy
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tlkit
from tlkit.memory import free_mb
from tlkit.tuning import process as trials
from tlkit.tuning import trial
from tlkit.tuning.process import OUT_OF_MEMORY
from tlkit.tuning.trial import TIME_UP

PER_PROCESS = 10  # trials until a process is replaced
GRACE = 5.0  # seconds past the deadline before a trial that does not stop is killed
MEMORY_SHARE = 0.8  # of what is free when the search starts
GROWN = 0.7  # share of the limit at which a process is replaced between trials

Job = dict[str, Any]
Watch = Callable[[dict[str, Any]], None]


class Worker:
    """Runs jobs in a process of its own, one at a time. Use it in a `with` block.

    Args:
        folder: For the log of the process and what it does not keep.
        memory: Most memory the process may hold, in units of 10^6 bytes; by default a share of
            what is free now.
        per_process: Trials until the process is replaced.
        task: What does a job, a function of a module; see `tlkit.tuning.process`.
        grace: Seconds past its deadline before a job is killed.
        clock: Tells the time in seconds since the epoch.
    """

    def __init__(
        self,
        folder: str | Path,
        memory: float | None = None,
        per_process: int = PER_PROCESS,
        task: Callable[..., dict[str, Any]] = trial.train,
        grace: float = GRACE,
        clock: Callable[[], float] = time.time,
    ):
        self.folder = Path(folder)
        self.task = f"{task.__module__}:{task.__name__}"
        self.grace, self.clock = grace, clock
        self.memory = memory or MEMORY_SHARE * free_mb()
        self.per_process = per_process
        self.started = 0  # processes so far
        self._process: Any = None
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._done = 0
        self._held = 0.0

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_):
        self.stop()

    def run(self, job: Job, watch: Watch = lambda event: None) -> dict[str, Any]:
        """Does a job and returns its result; whatever happens there, nothing is raised here.

        Out of memory halves the batch sizes of the job's phases and tries again. The result has
        `status` and `message`, and what the task returned; `batch_size` where it was halved.

        Args:
            job: What the task is told, as `tlkit.tuning.trial.train` documents it.
            watch: Called with every event of the process.
        """
        job, began, halved = copy.deepcopy(job), time.perf_counter(), 0
        while True:
            event = self._attempt(job, watch)
            if event["event"] != "memory" or not _halve(job):
                break
            halved = max(phase["batch_size"] for phase in job["phases"])
            watch({"event": "halved", "batch_size": halved})
        result = {"status": "done", "message": "", **event.get("result", {})}
        if event["event"] != "done":
            result |= {"status": event.get("status", "failed"), "message": event["message"]}
        if event["event"] == "memory":
            result["message"] = f"out of memory ({self.memory:,.0f} MB) even with one image a step"
        extra = {"batch_size": halved, "peak_mb": round(event.get("peak_mb", 0.0), 1)}
        return result | extra | {"seconds": time.perf_counter() - began}

    def _attempt(self, job: Job, watch: Watch) -> dict[str, Any]:
        if self._done >= self.per_process or self._held > GROWN * self.memory:
            self.stop()
        process = self._process or self._start()
        try:
            told = job | {"task": self.task, "memory": self.memory}
            process.stdin.write(json.dumps(told) + "\n")
            process.stdin.flush()
        except OSError:  # it died between two jobs
            self.stop()
            return self._attempt(job, watch)
        event = self._follow(process, job.get("deadline"), watch)
        self._done += 1
        self._held = event.get("held_mb", 0.0)
        if event["event"] != "done":
            self.stop()
        return event

    def _follow(self, process, deadline: float | None, watch: Watch) -> dict[str, Any]:
        """Returns the last event of a job: its own, or one that says how the process ended."""
        longest = 0.0
        while True:
            late = deadline is not None and self.clock() > deadline + max(self.grace, 1.5 * longest)
            if late:
                return {"event": "late", "status": "cut", "message": TIME_UP}
            with contextlib.suppress(queue.Empty):
                line = self._lines.get(timeout=0.2)
                if line is None:
                    return _ending(process.wait())
                event = json.loads(line)
                if event["event"] in ("done", "memory", "failed"):
                    return event
                longest = max(longest, event.get("seconds", 0.0))
                watch(event)

    def _start(self) -> Any:
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", trials.__name__, str(self.folder)]
        package = str(Path(tlkit.__file__).parents[1])
        path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
        with open(self.folder / "worker.log", "a") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                env={"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ, "PYTHONPATH": path},
                start_new_session=True,  # Ctrl-C is for the search alone, which then ends this
            )  # fmt: skip
        self._lines = queue.Queue()
        threading.Thread(target=_pump, args=(self._process, self._lines), daemon=True).start()
        self.started += 1
        self._done, self._held = 0, 0.0
        return self._process

    @property
    def pid(self) -> int | None:
        """The process that does the jobs, if one is alive."""
        return self._process.pid if self._process else None

    def stop(self) -> None:
        """Ends the process at once; the next job gets a new one."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                stream.close()


def _pump(process: Any, lines: "queue.Queue[str | None]") -> None:
    with contextlib.suppress(ValueError):  # closed under our hands by `stop`
        for line in process.stdout:
            if line.endswith("\n"):  # else the process died while writing it
                lines.put(line)
    lines.put(None)


def _ending(code: int) -> dict[str, Any]:
    if code == OUT_OF_MEMORY:
        return {"event": "memory", "message": "held more memory than it may"}
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    return {"event": "crashed", "message": f"the process of the trial {how}"}


def _halve(job: Job) -> bool:
    """Halves the batch sizes of a job; says whether there was anything to halve."""
    phases = job.get("phases") or []
    if max((phase["batch_size"] for phase in phases), default=1) <= 1:
        return False
    for phase in phases:
        phase["batch_size"] = max(phase["batch_size"] // 2, 1)
    return True
