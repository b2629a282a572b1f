"""How much memory this process and its children hold."""

import contextlib
import os
import resource
import sys
from pathlib import Path


def held_mb() -> float:
    """Returns the memory this process holds now, in units of 10^6 bytes."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:  # no /proc: the most it ever held is the next best
        return peak_mb()
    return pages * resource.getpagesize() / 1e6


def peak_mb() -> float:
    """Returns the most memory this process has held, in units of 10^6 bytes."""
    with contextlib.suppress(OSError):  # getrusage counts what the parent held before the exec
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1.024e-3
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def free_mb() -> float:
    """Returns the memory that can be had now, in units of 10^6 bytes."""
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
        return min(free * 1.024e-3, _group_mb())
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2e6
    return 8000.0


def _group_mb() -> float:
    """Returns what a container leaves, or infinity."""
    group = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError):
        limit = int((group / "memory.max").read_text())  # "max" where there is none
        return (limit - int((group / "memory.current").read_text())) / 1e6
    return float("inf")
