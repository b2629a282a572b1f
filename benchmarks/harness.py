"""Runs contestants side by side: a fresh process each, in rounds, in an order that rotates."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.contestants import Contestant
from benchmarks.worker import Job
from benchmarks.works import Work
from tlkit import files, progress

ROOT = Path(__file__).parent.parent
LOG_LINES = 12  # of a failed process, kept in the results


@dataclasses.dataclass(frozen=True)
class Setting:
    """What holds for every process of one benchmark run."""

    folder_of: Callable[[Work], Path]  # prepared images of a work
    weights: Callable[[Work, Path], str | None] = lambda work, folder: None
    rounds: int = 3
    timeout: float = 3600.0


def plan(
    works: Sequence[Work], contestants: Sequence[Contestant], rounds: int
) -> list[tuple[int, Work, Contestant]]:
    """Returns (round, work, contestant) in the order of running.

    Each round runs all of a work's contestants one after the other, so that what the machine does
    besides hits all of them; each round starts with another one.
    """
    steps = []
    for number in range(rounds):
        for work in works:
            mine = [row for row in contestants if work.name in row.works]
            turn = number % len(mine) if mine else 0
            steps += [(number, work, row) for row in mine[turn:] + mine[:turn]]
    return steps


def run(
    works: Sequence[Work], contestants: Sequence[Contestant], setting: Setting
) -> list[dict[str, Any]]:
    """Runs all of `plan` and returns one record for each process, failed ones included."""
    steps = plan(works, contestants, setting.rounds)
    folders = {work.name: setting.folder_of(work) for work in works}
    for folder in set(folders.values()):
        _read_once(folder)
    records = []
    for place, (number, work, row) in enumerate(steps, 1):
        record = once(row, work, folders[work.name], number, setting)
        seen = f"{record['wall']:.1f} s" if record["ok"] else "FAILED: " + record["why"]
        progress.say(f"[{place}/{len(steps)}] round {number + 1}, {work.name}, {row.name}: {seen}")
        records.append(record)
    return records


def _read_once(folder: Path) -> None:
    """Brings the files into the system's cache, so that the first contestant is not the slowest."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.read_bytes()


def once(
    row: Contestant, work: Work, folder: Path, number: int, setting: Setting
) -> dict[str, Any]:
    """Runs one contestant on one work in a fresh process with empty caches of its own.

    Returns:
        A record: wall and CPU seconds from before the process was made until training was done,
        peak memory in MB, and how many held-out images it then got right.
    """
    facts: dict[str, Any] = {"work": work.name, "contestant": row.name, "round": number + 1}
    facts["load"] = round(os.getloadavg()[0], 2)
    weights = setting.weights(work, folder)
    scratch = Path(tempfile.mkdtemp(prefix="benchmark-"))
    try:
        job = Job(
            row.module, work, str(folder), str(scratch), seed=number, weights=weights,
            options=row.options,
        )  # fmt: skip
        code, peak = _spawn(job, row, setting.timeout)
        return facts | _outcome(scratch, code, peak)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _spawn(job: Job, row: Contestant, timeout: float) -> tuple[int, float]:
    """Runs the worker; returns its exit code and the most memory all its processes held, in MB."""
    scratch = Path(job.scratch)
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": os.pathsep.join(paths)}
    env |= {"TLKIT_HOME": str(scratch / "home"), **row.env}
    command = [row.python or sys.executable, "-m", "benchmarks.worker"]
    command += [str(scratch / "job.json"), str(scratch / "result.json")]
    with open(scratch / "log.txt", "wb") as log:
        dataclasses.replace(job, spawned=time.monotonic()).write(scratch / "job.json")
        process = subprocess.Popen(
            command, cwd=scratch, env=env, stdout=log, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        with _Memory(process.pid) as memory:
            try:
                code = process.wait(timeout)
            except subprocess.TimeoutExpired:
                code = -1
                log.write(f"\nstopped after {timeout:.0f} s".encode())
            finally:  # also when the user interrupts: leave no worker behind
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
    return code, memory.peak


def _outcome(scratch: Path, code: int, peak: float) -> dict[str, Any]:
    if code or not (scratch / "result.json").exists():
        lines = (scratch / "log.txt").read_text(errors="replace").strip().splitlines()
        why = lines[-1] if lines else f"exit code {code}"
        return {"ok": False, "why": why, "log": lines[-LOG_LINES:]}
    result = files.read_json(scratch / "result.json")
    trained = result["marks"]["trained"]
    return {
        "ok": True,
        "wall": trained["wall"],
        "cpu": trained["cpu"],
        "peak_mb": max(peak, trained["peak_mb"]),
        **{key: result[key] for key in ("right", "judged", "marks", "notes")},
    }


class _Memory:
    """Watches what a process and its descendants hold together, while there are descendants.

    A process alone knows its own peak better than sampling does. Pages shared by several are
    divided among them.
    """

    INTERVAL = 0.5

    def __init__(self, pid: int):
        self.pid = pid
        self.peak = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()

    def _watch(self):
        while not self._done.wait(self.INTERVAL):
            tree = _descendants(self.pid)
            if len(tree) > 1:
                self.peak = max(self.peak, sum(map(_share_mb, tree)))


def _descendants(pid: int) -> list[int]:
    """Returns `pid` and all processes below it; `pid` alone where there is no /proc."""
    found = [pid]
    for one in found:
        for listed in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found += map(int, listed.read_text().split())
            except OSError:
                continue  # it has just ended
    return found


def _share_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0  # it has just ended
    return sum(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("Pss:"))


def machine() -> dict[str, Any]:
    """Returns what the numbers depend on, for the results file."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), "unknown")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1),
        "system": f"{os.uname().sysname} {os.uname().machine}",
        "python": sys.version.split()[0],
        "load_at_start": round(os.getloadavg()[0], 2),
        "packages": _packages(),
    }


def _packages() -> dict[str, str]:
    from importlib import metadata

    names = (
        "tlkit tensorflow keras numpy pillow torch timm fastai openvino simplejpeg opencv-python"
    )
    found = {dist.metadata["Name"].lower(): dist.version for dist in metadata.distributions()
             if dist.metadata["Name"]}  # fmt: skip
    return {name: found[name] for name in names.split() if name in found}
