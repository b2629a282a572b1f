"""A study folder: the trials of one search, one file each, under the key of all they depend on.

`DIR/<key>/study.json` says what the key was made of, `trials/0000.json` and so on hold one trial
each. A trial exists when its file does, and files are replaced atomically, so a search may be
killed at any moment. Changed images, space, weights or code give another key and so a new folder:
nothing measured under other conditions can be taken for a result.
"""

import dataclasses
import functools
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tlkit
from tlkit import files
from tlkit.errors import TlkitError
from tlkit.progress import say

# done: trained to its end. pruned: NaN, or far worse than chance. failed: crashed, or out of memory
# at every batch size. cut: the time was up; tried again when the study goes on.
STATUSES = ("done", "pruned", "failed", "cut")


@dataclasses.dataclass
class Trial:
    """One trial and what came of it.

    Attributes:
        number: Its place in the study; 0 has the default settings.
        settings: What was drawn from the space.
        share: Share of the epochs it was given.
        status: One of `STATUSES`.
        loss: Log loss on the validation images after calibration, in nats; the score.
        accuracy: Share of validation images that are right.
        seconds: Wall time.
        batch_size: What was left of the batch after running out of memory, else 0.
        epochs: Epochs trained.
        curve: Validation loss after each epoch.
        peak_mb: Most memory its process held, in units of 10^6 bytes.
        message: Why it was pruned, cut or failed.
    """

    number: int
    settings: dict[str, Any]
    share: float = 1.0
    status: str = "done"
    loss: float | None = None
    accuracy: float | None = None
    seconds: float = 0.0
    batch_size: int = 0
    epochs: int = 0
    curve: list[float] = dataclasses.field(default_factory=list)
    peak_mb: float = 0.0
    message: str = ""

    @property
    def score(self) -> float | None:
        """The loss of a trial that can be trusted, or None."""
        return self.loss if self.status == "done" else None


class Study:
    """The trials of one search on disk.

    Args:
        folder: Where the studies of this name lie; the study itself is a folder in it.
        parts: What the trials depend on, as plain values: data, space, weights, code and so on.
    """

    def __init__(self, folder: str | Path, parts: Mapping[str, Any]):
        self.parts = json.loads(json.dumps({"code": code_version(), **parts}))
        self.key = files.combined_hash(self.parts)[:12]
        self.folder = Path(folder) / self.key
        self.trials: dict[int, Trial] = {}
        self._seen: dict[Path, tuple[int, int]] = {}  # which files were read
        self._open(Path(folder))

    def _open(self, parent: Path) -> None:
        if not (self.folder / "study.json").exists():
            if other := _newest(parent):
                changed = ", ".join(_differences(other, self.parts))
                say(f"A new study: {changed} changed since {parent / other['key']}.")
            files.write_json(self.folder / "study.json", {"key": self.key, "parts": self.parts})
        self.refresh()
        if self.finished:
            say(f"{self.folder}: {len(self.finished)} finished trials are taken up again.")

    def refresh(self) -> None:
        """Reads the trials that are on disk by now, those of other processes too.

        One that was cut is run again under its number, so what is written anew is read anew.
        """
        for path in sorted((self.folder / "trials").glob("[0-9]*.json")):
            written = path.stat().st_mtime_ns, path.stat().st_ino
            if path.stem.isdigit() and self._seen.get(path) != written:
                self._seen[path] = written
                trial = _read(path)
                if trial is not None:
                    self.trials[trial.number] = trial

    @property
    def finished(self) -> list[Trial]:
        """The trials in order up to the first gap, which is where the search goes on."""
        found: list[Trial] = []
        while (trial := self.trials.get(len(found))) is not None and trial.status != "cut":
            found.append(trial)
        return found

    @property
    def ranked(self) -> list[Trial]:
        """The trials that were trained in full, best first."""
        whole = [t for t in self.trials.values() if t.score is not None and t.share >= 1]
        return sorted(whole, key=lambda t: (t.loss, t.number))

    def add(self, trial: Trial) -> None:
        """Keeps a trial; from now on it survives whatever happens to this process."""
        self.trials[trial.number] = trial
        path = self.folder / "trials" / f"{trial.number:04d}.json"
        files.write_json(path, dataclasses.asdict(trial))

    def table(self) -> list[dict[str, Any]]:
        """Returns one row per trial with what does not depend on the clock."""
        names = ("number", "settings", "share", "status", "loss", "accuracy", "epochs")
        trials = sorted(self.trials.values(), key=lambda trial: trial.number)
        return [{name: getattr(trial, name) for name in names} for trial in trials]


@functools.cache
def code_version(folder: Path = Path(tlkit.__file__).parent) -> str:
    """Returns a digest of tlkit's own source: another code may give other numbers."""
    sources = sorted(folder.rglob("*.py"))
    return files.combined_hash([files.content_hash(path.read_bytes()) for path in sources])[:16]


def _read(path: Path) -> Trial | None:
    """Reads one trial; a torn file counts as a trial that never was."""
    try:
        trial = Trial(**files.read_json(path))
        if trial.number == int(path.stem) and trial.status in STATUSES:
            return trial
    except (OSError, ValueError, TypeError):
        pass
    say(f"{path} is damaged: that trial is run again.")
    return None


def _newest(parent: Path) -> dict[str, Any] | None:
    """Returns the key and parts of the study that was begun last, if there is one."""
    found = sorted(parent.glob("*/study.json"), key=os.path.getmtime)
    for path in reversed(found):
        try:
            return files.read_json(path)
        except (OSError, ValueError):
            continue
    return None


def _differences(study: Mapping[str, Any], parts: Mapping[str, Any]) -> list[str]:
    before = study.get("parts", {})
    names = [name for name in parts if before.get(name) != parts[name]]
    return names or ["something"]


def latest(folder: str | Path) -> Path:
    """Returns the folder of the study that was begun last in `folder`.

    Raises:
        TlkitError: There is none.
    """
    found = _newest(Path(folder))
    if found is None:
        raise TlkitError(f"{folder} holds no study: run `tlkit search` with --out {folder}.")
    return Path(folder) / found["key"]
