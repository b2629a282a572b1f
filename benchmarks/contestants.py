"""Who takes part: one row for each way to do a work.

A contestant is a module with `train(job, clock)`. It trains, and returns a function from a list of
image files to their class names; `benchmarks.worker` calls it in a fresh process.
"""

import dataclasses
import importlib.util
import subprocess
from typing import Any


@dataclasses.dataclass(frozen=True)
class Contestant:
    """One row of the tables.

    Args:
        name: On the command line and in the tables.
        module: Where its `train` is.
        about: What it does, in a few words.
        works: The works it takes part in.
        quick: The works of them that are also in the short run.
        views: Distinct augmented views of each image: "fresh" (one for each epoch), "1", "4".
        options: What `train` reads from `job.options`.
        needs: Packages without which it is left out.
        env: Environment variables of its process.
        python: Another interpreter, for packages that do not live beside TensorFlow.
    """

    name: str
    module: str
    about: str
    works: tuple[str, ...]
    quick: tuple[str, ...] = ()
    views: str = "fresh"
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    needs: tuple[str, ...] = ("tensorflow", "keras")
    env: dict[str, str] = dataclasses.field(default_factory=dict)
    python: str = ""

    def absent(self) -> str:
        """Returns why it cannot run here, or an empty string."""
        missing = [name for name in self.needs if not _installed(name, self.python)]
        return f"not installed: {', '.join(missing)}" if missing else ""


def _installed(package: str, python: str) -> bool:
    if not python:
        return importlib.util.find_spec(package) is not None
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec('{package}') is None)"
    return subprocess.run([python, "-c", code], check=False).returncode == 0


BASE = "keras-guide"  # what all ratios are against
FAIR = "keras-guide-bn"  # the same with the BatchNorm statistics held still
_ALL = ("W0", "W1", "W2", "W3", "W4")
# Torch's worker threads spin while they wait, which costs CPU time here and nothing else.
_TORCH = {"OMP_WAIT_POLICY": "passive"}

# fmt: off
CONTESTANTS = (
    Contestant(BASE, "benchmarks.keras_guide", "the script of the official Keras guide",
               _ALL, _ALL),
    Contestant(FAIR, "benchmarks.keras_guide", "the same, every BatchNorm layer kept frozen",
               ("W1", "W2"), options={"freeze_norms": True}),
    Contestant("keras-cached", "benchmarks.keras_cached",
               "the guide with frozen features computed once for the head: no augmentation there",
               ("W1", "W2", "W3", "W4"), views="1, then fresh"),
    Contestant("torch", "benchmarks.torch_plain",
               "PyTorch eager, channels_last, two DataLoader workers",
               ("W1", "W2", "W3"), ("W1",), needs=("torch",), env=_TORCH),
    Contestant("fastai", "benchmarks.fastai_fine_tune",
               "fastai's fine_tune: opens the whole net, so more work than the others",
               ("W1", "W2"), needs=("fastai", "torch", "torchvision"), env=_TORCH),
    Contestant("tlkit-1", "benchmarks.tlkit_run", "tlkit, every epoch sees the same view",
               ("W0", "W1", "W2", "W3", "W4"), ("W1", "W2", "W3"), "1", {"views": 1}),
    Contestant("tlkit-1-bf16", "benchmarks.tlkit_run",
               "tlkit-1 with --set arithmetic=bfloat16: not the same numbers",
               ("W1", "W2"), (), "1", {"views": 1, "arithmetic": "bfloat16"}),
    Contestant("tlkit-fresh", "benchmarks.tlkit_run", "tlkit, a new view in every epoch",
               ("W0", "W1", "W2", "W3"), ("W1",), "fresh", {"views": "epochs"}),
    Contestant("tlkit", "benchmarks.tlkit_run", "tlkit with its own settings for all but epochs",
               _ALL, ("W0", "W4"), "4", {"defaults": True}),
)
# fmt: on


def variant(text: str) -> Contestant:
    """Returns a tlkit row from "NAME[:views]:KEY=VALUE,...", to try an engine's setting.

    The pairs are environment variables of the contestant's process.
    """
    name, *rest = text.split(":")
    pairs = [part.split("=", 1) for part in rest[-1].split(",")] if rest else []
    if not name or not pairs or any(len(pair) != 2 for pair in pairs) or len(rest) > 2:
        raise ValueError(f"A variant reads NAME[:VIEWS]:KEY=VALUE,..., not {text!r}.")
    views: Any = rest[0] if len(rest) == 2 else "1"
    number = "epochs" if views == "fresh" else int(views)
    return Contestant(
        f"tlkit-{name}", "benchmarks.tlkit_run", f"tlkit with {rest[-1]}", _ALL, _ALL,
        views, {"views": number}, env=dict(pairs),
    )  # fmt: skip
