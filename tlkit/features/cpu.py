"""What this machine's processor can do."""

import functools
from pathlib import Path


@functools.cache
def cpu_flags() -> frozenset[str]:
    """Returns the CPU's features as Linux names them; none where they cannot be read."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    lines = (line for line in text.splitlines() if line.startswith("flags"))
    return frozenset(next(lines, "").partition(":")[2].split())


def has_bfloat16() -> bool:
    """Says whether the CPU multiplies in bfloat16 by itself, so that it is worth using."""
    return bool(cpu_flags() & {"avx512_bf16", "amx_bf16"})
