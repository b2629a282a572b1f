"""The run folder: everything needed to repeat, resume, judge and use one training run."""

import dataclasses
import datetime
import platform
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit import files, progress
from tlkit.backbones import weights
from tlkit.errors import TlkitError
from tlkit.evaluation import calibration, metrics
from tlkit.features import decoded
from tlkit.features.store import Store
from tlkit.images.dataset import Data, Images
from tlkit.models.classifier import Classifier
from tlkit.phases.phase import Phase, view_count
from tlkit.training import checkpoint

if TYPE_CHECKING:
    from tlkit.training.phase_trainer import Trainee

_PACKAGES = ("tlkit", "tensorflow", "keras", "numpy", "pillow", "scikit-learn")


class Run:
    """One training run and its folder.

    The folder holds `run.json` (settings, phases, history, versions), `manifest.json` (every image
    with its split and content hash), `quarantine.csv`, `model.keras` with `classifier.json`,
    `metrics.json`, `log.txt`, `report.html`, and `checkpoint.npz` while training.

    Attributes:
        folder: Where it lives.
        model: The classifier; the best weights seen once the run is finished.
        data: The images, or None for a run opened where they are not needed.
        history: One dict for each epoch.
        records: One dict for each finished phase.
        stopped: Why training ended early on a NaN, or an empty string.
    """

    def __init__(self, folder: Path, model: Classifier, phases: Sequence[Phase], seed: int):
        self.folder = folder
        self.model = model
        self.phases = tuple(phases)
        self.seed = seed
        self.data: Data | None = None
        self.store = Store.default()
        self._logits: dict[tuple, np.ndarray] = {}
        self.history: list[dict[str, Any]] = []
        self.records: list[dict[str, Any]] = []
        self.stopped = ""
        self.finished = False
        self.source: dict[str, Any] = {}
        self.versions: dict[str, str] = {}
        self.began = time.time()
        self.seconds = 0.0

    @classmethod
    def create(cls, out, model: Classifier, data: Data, phases, seed: int) -> "Run":
        """Makes the folder with all that is known before training.

        `run.json` comes last: with it the folder is a run, which may be resumed from then on.
        """
        folder = Path(out) if out else _free_folder(data, model)
        if (folder / "run.json").exists():
            finished = files.read_json(folder / "run.json")["finished"]
            hint = "" if finished else f", or resume it: tlkit finetune --resume {folder}"
            raise TlkitError(f"{folder} already holds a run. Choose another folder{hint}.")
        run = cls(folder, model, phases, seed)
        run.data = data
        run.versions = versions()
        files.write_json(folder / "manifest.json", data.manifest)
        data.write_quarantine(folder / "quarantine.csv")
        model.save(folder)
        checkpoint.write_first(run.checkpoint, model)
        run._write()
        run.say(f"{model.backbone.name}, weights {model.backbone.weights}, run folder {folder}")
        return run

    @classmethod
    def open(cls, folder: str | Path) -> "Run":
        """Reads a run folder; its images are only looked for by `require_data`."""
        folder = Path(folder)
        if not (folder / "run.json").exists():
            raise TlkitError(f"{folder} is not a run folder: there is no run.json in it.")
        facts = files.read_json(folder / "run.json")
        phases = [Phase(**phase) for phase in facts["phases"]]
        run = cls(folder, Classifier.load(folder), phases, facts["seed"])
        for name in ("history", "records", "stopped", "finished", "versions", "began", "seconds"):
            setattr(run, name, facts[name])
        return run

    @property
    def checkpoint(self) -> Path:
        """The file that an interrupted run goes on from."""
        return self.folder / "checkpoint.npz"

    def require_data(self, source: Any = None) -> Data:
        """Loads the run's images, from `source` if given, and refuses them if they changed."""
        if self.data is None:
            self.data = Data.from_manifest(self.folder / "manifest.json", source)
        return self.data

    def say(self, line: str) -> None:
        """Prints a line and adds it to the run's log."""
        progress.say(line)
        stamp = datetime.datetime.now().isoformat(timespec="seconds")
        with open(self.folder / "log.txt", "a", encoding="utf-8") as log:
            log.write(f"{stamp} {line}\n")

    def append(self, row: dict[str, Any]) -> None:
        """Adds one epoch to the history and shows it."""
        self.history.append(row)
        self.say(
            f"epoch {row['epoch'] + 1:3d} {row['phase']:<12} loss {row['loss']:.4f} "
            f"accuracy {row['accuracy']:.3f}  validation loss {row['val_loss']:.4f} "
            f"accuracy {row['val_accuracy']:.3f}  {row['seconds']:.1f} s"
        )

    def record_phase(self, number: int, trainee: "Trainee", best: int, seconds: float) -> None:
        """Notes what a finished phase did; the audit has passed when this is called."""
        phase = self.phases[number]
        before = sum(record["epochs"] for record in self.records)
        self.records.append(
            {
                "name": phase.name,
                "unfreeze": phase.unfreeze or "head only",
                "boundary": trainee.boundary,
                "trainable": int(sum(v.numpy().size for v in trainee.variables)),
                "frozen": int(sum(v.numpy().size for v in trainee.frozen)),
                "epochs": len(self.history) - before,
                "best_epoch": best + 1,
                "rates": _rates(phase, trainee),
                "views": view_count(phase),
                "seconds": seconds,
                "audited": True,
            }
        )

    def complete(self, logits: np.ndarray) -> None:
        """Saves the final model, judges it by its validation logits and marks the run finished."""
        self.seconds = time.time() - self.began
        self.model.save(self.folder)
        self._judge(calibration.softmax(logits, self.model.temperature), self.require_data().val)
        self.finished = True
        self._write()

    def evaluate(self, images: Images | None = None, name: str = "") -> metrics.Evaluation:
        """Evaluates every image once and keeps the result in `metrics.json`.

        Args:
            images: An `Images` value such as `data.test`; the run's test split by default.
            name: What the result is filed under; the split's role by default.
        """
        images = images if images is not None else self.require_data().test
        if images is None or not len(images):
            raise TlkitError("There is no test image: give a folder of labelled test images.")
        return self._judge(self.probabilities(images), images, name)

    def _judge(self, chances: np.ndarray, images: Images, name: str = "") -> metrics.Evaluation:
        names = self.model.class_names
        values = metrics.evaluate(chances, images.labels, names, files=images.files)
        path = self.folder / "metrics.json"
        known = files.read_json(path) if path.exists() else {}
        files.write_json(path, {**known, name or images.role: values})
        return metrics.Evaluation(values)

    def probabilities(self, images: Images) -> np.ndarray:
        """Returns calibrated probabilities [n, classes] of `images`, computed once."""
        key = (weights.fingerprint(self.model.keras_model.weights), *images.hashes)
        if key not in self._logits:
            rows = decoded.pixel_rows(self.store, images, self.model.rule)
            self._logits[key] = self.model.logits(rows)
        return calibration.softmax(self._logits[key], self.model.temperature)

    def correct(self, images: Images) -> np.ndarray:
        """Returns whether each image's most probable label is the right one, bool [n]."""
        return self.probabilities(images).argmax(-1) == images.labels

    def _write(self) -> None:
        files.write_json(
            self.folder / "run.json",
            {
                "finished": self.finished,
                "stopped": self.stopped,
                "seed": self.seed,
                "phases": [dataclasses.asdict(phase) for phase in self.phases],
                "records": self.records,
                "history": self.history,
                "versions": self.versions,
                "began": self.began,
                "seconds": self.seconds,
            },
        )


def _rates(phase: Phase, trainee: "Trainee") -> list[float]:
    """Returns the peak learning rates of the open groups, deepest in the network last."""
    factors = trainee.optimizer.rates or [1.0]
    return [phase.rate * factor for factor in sorted(set(factors), reverse=True)]


def versions() -> dict[str, str]:
    """Returns the versions a run depends on."""
    found = {name: metadata.version(name) for name in _PACKAGES if _installed(name)}
    return {"python": platform.python_version(), "machine": platform.platform(), **found}


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _free_folder(data: Data, model: Classifier) -> Path:
    stem = f"{Path(str(data.table.source)).name or 'images'}-{model.backbone.name}"
    names = [stem, *(f"{stem}-{number}" for number in range(2, 1000))]
    return next(Path("runs") / name for name in names if not (Path("runs") / name).exists())
