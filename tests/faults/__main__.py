"""Plants the listed faults one at a time and tells which of them no test notices.

    python -m tests.faults                     all of them, two at a time
    python -m tests.faults --room training     those of one part
    python -m tests.faults --id S20 --id T05   single ones
    python -m tests.faults --sample 200        so many, drawn evenly over the parts
    python -m tests.faults --write             and writes the table of docs/reliability.md

TensorFlow starts once: each fault runs in a fork of a process that has imported it, in a copy of
the project, so that processes which a test starts find the fault too. A fault is killed where a
test of its list fails, or takes so long that no one would wait for it.
"""

import argparse
import collections
import os
import random
import re
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from tests.faults import listed
from tests.faults.listed import Fault

LONGEST = 900  # seconds; one that hangs counts as noticed
PAGE = listed.PROJECT / "docs" / "reliability.md"
MARKS = "<!-- faults: begin -->", "<!-- faults: end -->"


def main(arguments: Sequence[str] | None = None) -> int:
    """Plants, reports and returns 0 where every fault was noticed."""
    options = _options(arguments)
    faults = listed.faults(options.room, options.id)
    if options.sample:
        faults = _drawn(faults, options.sample)
    for fault in faults:
        listed.place(fault)  # a text that is gone is an error now, not in an hour
    _warm_up()
    clean = [] if options.trust else _clean(faults)
    results: dict[str, str] = {}
    for fault, verdict, seconds in _run([*clean, *faults], options.jobs):
        results[fault.id] = verdict
        print(f"{verdict or 'SURVIVED':<60} {fault.id:<8} {fault.what} ({seconds:.0f} s)")
    if failed := [results.pop(fault.id) for fault in clean if results[fault.id]]:
        print(f"Without any fault these fail already: {', '.join(failed)}")
        return 2
    results = {fault.id: results[fault.id] for fault in faults}
    table = _table(faults, results)
    print(table)
    if options.write:
        _write(table)
    return 0 if all(results.values()) else 1


def _options(arguments):
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--room", action="append", default=[], help="only these parts")
    parser.add_argument("--id", action="append", default=[], help="only these faults")
    parser.add_argument("--sample", type=int, default=0, help="only so many, always the same")
    parser.add_argument("--jobs", type=int, default=2, help="faults at a time")
    parser.add_argument("--trust", action="store_true", help="do not run the clean code first")
    parser.add_argument("--write", action="store_true", help="write docs/reliability.md")
    return parser.parse_args(arguments)


def _drawn(faults: Sequence[Fault], count: int) -> list[Fault]:
    """Returns `count` faults, each part in its share: an even step through a shuffled list."""
    rooms = sorted({fault.room for fault in faults})
    shuffled = random.Random(0).sample(list(faults), len(faults))
    order = sorted(shuffled, key=lambda fault: rooms.index(fault.room))
    step = max(len(order) / count, 1.0)
    return [order[int(i * step)] for i in range(min(count, len(order)))]


def _warm_up():
    """Imports what takes long and is not under test; nothing here may compute with TensorFlow."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import h5py  # noqa: F401
    import keras  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import PIL.Image  # noqa: F401
    import pytest  # noqa: F401
    import scipy.stats  # noqa: F401
    import sklearn.linear_model  # noqa: F401
    import tensorflow  # noqa: F401


def _clean(faults) -> list[Fault]:
    """Returns one fault that changes nothing for each list of tests."""
    tests = dict.fromkeys(test for fault in faults for test in fault.tests)
    return [Fault(f"clean:{test}", "", "", test, "", "", (test,)) for test in tests]


def _run(faults, jobs: int):
    """Yields each fault with what noticed it, or an empty string, and the seconds it took."""
    waiting = collections.deque(faults)
    running: dict[int, tuple[Fault, Path, float]] = {}
    while waiting or running:
        while waiting and len(running) < jobs:
            fault = waiting.popleft()
            folder = Path(tempfile.mkdtemp(prefix="tlkit-fault-"))
            running[_start(fault, folder)] = fault, folder, time.monotonic()
        time.sleep(0.05)
        for process, (fault, folder, began) in list(running.items()):
            seconds = time.monotonic() - began
            ended, status = os.waitpid(process, os.WNOHANG)
            if not ended and seconds < LONGEST:
                continue
            if not ended:
                os.killpg(process, 9)
                os.waitpid(process, 0)
            verdict = _verdict(folder, os.waitstatus_to_exitcode(status) if ended else None)
            shutil.rmtree(folder, ignore_errors=True)
            del running[process]
            yield fault, verdict, seconds


def _start(fault: Fault, folder: Path) -> int:
    """Forks; the child plants the fault in a copy, runs its tests there and ends."""
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    code = 70
    try:
        os.setpgid(0, 0)
        code = _child(fault, folder)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _child(fault: Fault, folder: Path) -> int:
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    project = listed.copy(folder / "project")
    if fault.find:
        listed.plant(fault, project)
    temporary = folder / "temporary"
    temporary.mkdir()
    os.environ |= {"TMPDIR": str(temporary), "PYTHONPATH": str(project)}
    tempfile.tempdir = None
    os.chdir(project)
    sys.path[:] = [str(project), *(p for p in sys.path if Path(p or ".") != listed.PROJECT)]
    for name in [name for name in sys.modules if name.split(".")[0] in ("tests", "tlkit")]:
        del sys.modules[name]
    import pytest

    tests = [f"tests/{test}" for test in fault.tests]
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--durations=0"]
    return int(pytest.main([*options, *tests]))


def _verdict(folder: Path, code: int | None) -> str:
    """Returns what noticed the fault: a test, an error or the clock; an empty string is nobody."""
    if code is None:
        return f"over {LONGEST} s"
    if code == 0:
        return ""
    log = (folder / "log").read_text(errors="replace")
    failed = re.findall(r"^(?:FAILED|ERROR) tests/(\S+)", log, re.MULTILINE)
    return failed[0] if failed else f"exit code {code}: {log.strip()[-200:]}"


def _table(faults, results) -> str:
    """Returns the share of noticed faults by part and by kind, and the survivors by name."""
    lines = ["| part | noticed | of |", "| --- | --: | --: |"]
    for title, of in (("room", "room"), ("kind", "kind")):
        groups = collections.defaultdict(list)
        for fault in faults:
            groups[getattr(fault, of)].append(bool(results[fault.id]))
        lines += [f"| {title} {name} | {sum(g)} | {len(g)} |" for name, g in sorted(groups.items())]
    noticed = sum(map(bool, results.values()))
    share = f"{noticed / max(len(faults), 1):.0%}"
    lines += [f"| all | {noticed} ({share}) | {len(faults)} |", ""]
    left = [f"- `{f.id}` ({f.room}): {f.what}" for f in faults if not results[f.id]]
    return "\n".join([*lines, "Not noticed:", "", *(left or ["- none"])])


def _write(table: str):
    before, rest = PAGE.read_text(encoding="utf-8").split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    PAGE.write_text(f"{before}{MARKS[0]}\n{table}\n{MARKS[1]}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
