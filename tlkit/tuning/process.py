"""What happens in the process of a trial: `python -m tlkit.tuning.process FOLDER`.

The process reads one job per line from its standard input, does it, and writes one JSON line per
event to its standard output; `worker` is the other end. A job names the function that does it,
such as `trial.train`, so this module is quick to import. The process ends by itself when it holds
more memory than it may, and when the process that started it is gone.
"""

import contextlib
import importlib
import json
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tlkit.memory import held_mb, peak_mb

OUT_OF_MEMORY = 77  # exit code of a process that reached its limit
PAUSE = 0.1  # seconds between two looks at the memory

Report = Callable[..., None]


def main() -> None:
    """Does jobs until standard input ends."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print goes to the log, not between the events
    for line in sys.stdin:
        job = json.loads(line)
        with _watched(job.get("memory"), os.getppid()):
            event = _do(job, folder, lambda **event: _send(out, event))
        _send(out, event | {"peak_mb": peak_mb(), "held_mb": held_mb()})


def _send(out, event: dict[str, Any]) -> None:
    out.write(json.dumps(event) + "\n")
    out.flush()


def _do(job: dict[str, Any], folder: Path, report: Report) -> dict[str, Any]:
    module, _, name = job["task"].partition(":")
    try:
        return {"event": "done", "result": getattr(importlib.import_module(module), name)(
            job, report, folder
        )}  # fmt: skip
    except MemoryError as error:
        return {"event": "memory", "message": str(error)}
    except Exception as error:
        traceback.print_exc()
        # TensorFlow's own, by name: this module must not import it.
        event = "memory" if type(error).__name__ == "ResourceExhaustedError" else "failed"
        return {"event": event, "message": f"{type(error).__name__}: {error}"[:500]}


@contextlib.contextmanager
def _watched(limit_mb: float | None, parent: int) -> Iterator[None]:
    """Ends this process the moment it holds too much memory, or has lost its parent.

    Not `setrlimit`: TensorFlow reserves far more addresses than it ever uses.
    """
    done = threading.Event()

    def watch():
        while not done.wait(PAUSE):
            if limit_mb and held_mb() > limit_mb:
                os._exit(OUT_OF_MEMORY)
            if os.getppid() != parent:
                os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        done.set()


# The default task


if __name__ == "__main__":
    main()
