"""The fresh process of one contestant: train, note the time, then judge the held-out images."""

import dataclasses
import importlib
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.works import Work


@dataclasses.dataclass(frozen=True)
class Job:
    """What one process is asked to do; plain values, so that it travels as JSON."""

    module: str
    work: Work
    folder: str  # holds photos/train, photos/val and test, each with one folder for each class
    scratch: str  # an empty folder that is removed afterwards
    seed: int = 0
    weights: str | None = None  # a weights file, or None for random values
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    spawned: float = 0.0  # monotonic clock of the machine, just before the process was made

    @property
    def photos(self) -> str:
        """The folder with train/ and val/: all that a contestant is shown."""
        return f"{self.folder}/photos"

    def write(self, path: Path) -> None:
        """Writes the job as JSON."""
        path.write_text(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def read(cls, path: str | Path) -> "Job":
        """Reads what `write` wrote."""
        values = json.loads(Path(path).read_text())
        photo = tuple(values["work"].pop("photo"))
        return cls(**{**values, "work": Work(photo=photo, **values["work"])})


class Clock:
    """Notes what has been spent since the process was made, start-up and imports included."""

    def __init__(self, spawned: float):
        self.spawned = spawned
        self.marks: dict[str, dict[str, float]] = {}
        self.notes: dict[str, Any] = {}

    def mark(self, name: str) -> None:
        """Notes wall seconds and CPU seconds (of this process and its finished children)."""
        self.marks[name] = {
            "wall": time.monotonic() - self.spawned,
            "cpu": sum(_cpu(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)),
            "peak_mb": peak_mb(),
        }


def peak_mb() -> float:
    """Returns the most memory this process has held, in units of 10^6 bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would also count what the parent held before the exec
        line = next(text for text in status.read_text().splitlines() if text.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def labelled(folder: str | Path) -> tuple[list[str], list[str]]:
    """Returns the files below a folder of class folders, and their class names, both sorted."""
    files = sorted(path for path in Path(folder).glob("*/*") if path.is_file())
    return [str(path) for path in files], [path.parent.name for path in files]


def run(job: Job) -> dict[str, Any]:
    """Trains and judges; returns marks, notes and how many held-out images are right."""
    clock = Clock(job.spawned)
    predict = importlib.import_module(job.module).train(job, clock)
    clock.mark("trained")
    files, names = labelled(Path(job.folder) / "test")
    answers = predict(files)
    right = sum(answer == name for answer, name in zip(answers, names, strict=True))
    return {"marks": clock.marks, "notes": clock.notes, "right": right, "judged": len(names)}


def _cpu(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    result = run(Job.read(sys.argv[1]))
    temporary = Path(sys.argv[2] + ".part")
    temporary.write_text(json.dumps(result))
    os.replace(temporary, sys.argv[2])
