"""The work of a search: trials on a proxy until half the time is gone, then the best again.

The score is the log loss on the validation images after calibration. Accuracy has far coarser
steps, on 100 images one per cent each, and loss without calibration would favour settings for
their confidence, label smoothing above all.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlkit import files
from tlkit.backbones import weights
from tlkit.errors import TlkitError, unknown
from tlkit.features.store import Store
from tlkit.images.dataset import Data
from tlkit.models.classifier import Classifier
from tlkit.models.heads import Head
from tlkit.phases.phase import Phase
from tlkit.progress import say
from tlkit.training.train import default_phases
from tlkit.tuning import proposals
from tlkit.tuning.proposals import Past
from tlkit.tuning.space import Settings, Space, default_space, load, phases_of
from tlkit.tuning.study import Study, Trial
from tlkit.tuning.worker import Worker

SEARCHED = (0.5, 0.9)  # least and greatest share of the time for trials; the rest confirms
JUDGED = 0.02  # share kept for evaluating and writing down
CARE = 1.3  # how much longer than estimated confirming may take
WORTH = 0.5  # a trial is not begun with less time left than this share of the usual one

Watch = Callable[[dict[str, Any]], None]


@dataclasses.dataclass(frozen=True)
class Options:
    """How to search.

    Args:
        minutes: Wall time for all of it, confirmation included; None for no limit.
        trials: Most trials; None for as many as the time allows.
        space: A `Space`, a space file whose rows replace those of the default space, or None.
        algorithm: One of `oracles.ALGORITHMS`.
        seed: Fixes every draw: of settings, and in training.
        out: Folder of studies; `searches/<data>-<backbone>` by default.
        images: Most training images of a trial, each class in its share; None for all.
        epochs: Share of the plan's epochs that a trial gets.
        finalists: How many of the best are trained again, beside the default settings.
        repeats: Most seeds of each finalist.
        plan: The phases that settings change; `default_phases(model)` if None.
        memory: Most memory of a trial, in units of 10^6 bytes; 80 % of what is free if None.
        store: Where decoded pixels and frozen features are kept.
        origin: Keys of `recipe_files.KEYS` that say how the model was made, for the recipe.
    """

    minutes: float | None = 20.0
    trials: int | None = None
    space: Space | str | Path | None = None
    algorithm: str = "bayesian"
    seed: int = 0
    out: str | Path | None = None
    images: int | None = 1000
    epochs: float = 1.0
    finalists: int = 3
    repeats: int = 3
    plan: Sequence[Phase] | None = None
    memory: float | None = None
    store: Store | None = None
    origin: dict[str, Any] | None = None

    def __post_init__(self):
        if self.algorithm not in proposals.ALGORITHMS:
            raise unknown("search algorithm", self.algorithm, proposals.ALGORITHMS)
        if self.minutes is None and self.trials is None and self.algorithm != "grid":
            raise TlkitError("A search needs an end: give minutes, trials or both.")
        if min(self.repeats, self.finalists) < 1 or not 0 < self.epochs <= 1:
            raise TlkitError("Finalists and repeats must be 1 or more, epochs a share of 1.")


class Searcher:
    """One search: `explore` runs the trials, `confirm` trains the best of them again.

    Args:
        worker: What runs jobs, as `Worker` does; by default one with a process of its own.
        clock: Tells the time in seconds since the epoch.
    """

    def __init__(
        self,
        model: Classifier,
        data: Data,
        options: Options,
        watch: Watch,
        worker: Any = None,
        clock: Callable[[], float] = time.time,
    ):
        self.clock, self.began = clock, clock()
        if data.table.root is None:
            raise TlkitError(
                "Trials run in processes of their own, which cannot see arrays of this one: write "
                "the images to files, one folder for each class."
            )
        self.model, self.data, self.options, self.watch = model, data, options, watch
        self.plan = tuple(options.plan or default_phases(model))
        self.space = _space(options.space, self.plan, model)
        self.study = Study(_folder(options.out, data, model), self._parts())
        self.store = options.store or Store.default()
        self.worker = worker or Worker(self.study.folder / "work", options.memory)
        self.confirmed: dict[int, list[Path]] = {}
        self._took: list[float] = []
        self.unstable: set[int] = set()
        self.start = self.study.folder / "start"
        self.manifest = self.study.folder / "manifest.json"
        if not self.manifest.exists():
            model.save(self.start)
            files.write_json(self.manifest, data.manifest)

    def _parts(self) -> dict[str, Any]:
        """Returns all that the numbers of a trial depend on."""
        return {
            "data": self.data.fingerprint,
            "space": self.space.describe(),
            "weights": weights.fingerprint(self.model.backbone.net.weights),
            "pixels": dataclasses.asdict(self.model.rule),
            "head": dataclasses.asdict(self.model.head),
            "plan": [dataclasses.asdict(phase) for phase in self.plan],
            "algorithm": self.options.algorithm,
            "seed": self.options.seed,
            "proxy": [self.options.images, self.options.epochs],
        }

    def left(self, share: float = 1.0 - JUDGED) -> float:
        """Returns the seconds left of a share of the time."""
        if self.options.minutes is None:
            return float("inf")
        return self.began + 60 * self.options.minutes * share - self.clock()

    def left_to_search(self) -> float:
        """Returns the seconds left before the finalists must be confirmed."""
        if self.options.minutes is None:
            return float("inf")
        least, most = SEARCHED
        share = 1.0 - JUDGED - CARE * self._confirming() / (60 * self.options.minutes)
        return self.left(min(max(share, least), most))

    def _confirming(self) -> float:
        """Returns the seconds that confirming will take, judged by the trials so far."""
        usual = [t.seconds / t.share for t in self.study.trials.values() if t.status == "done"]
        if not usual:
            return float("inf")
        proxy = min(self.options.images or len(self.data.train), len(self.data.train))
        larger = len(self.data.train) / proxy / self.options.epochs
        runs = (self.options.finalists + 1) * self.options.repeats
        return runs * larger * float(np.mean(usual))

    def explore(self) -> None:
        """Runs trials until the time, their number or the space is at its end."""
        while True:
            done = self.study.finished
            enough = self.options.trials is not None and len(done) >= self.options.trials
            if enough or self.left_to_search() < WORTH * _usual(done):
                return
            past = [Past(trial.settings, self.score(trial), trial.share) for trial in done]
            tried = proposals.propose(self.options.algorithm, self.space, past, self.options.seed)
            if tried is None:
                say("Every combination in the space was tried.")
                return
            self.study.add(self.attempt(len(done), tried))

    def score(self, trial: Trial) -> float | None:
        """Returns what the algorithm is told: the logarithm of the loss, no worse than guessing.

        Losses differ by factors, and how much worse than guessing a trial is says nothing.
        """
        guess = math.log(len(self.data.class_names))
        return None if trial.score is None else math.log(min(max(trial.score, 1e-6), guess))

    def attempt(self, number: int, tried: proposals.Proposal) -> Trial:
        """Runs one trial on the proxy and returns it, whatever came of it."""
        self.watch({"event": "start", "trial": number, "settings": tried.settings})
        share = tried.share * self.options.epochs
        job = self.job(tried.settings, self.options.seed, share)
        job["images"] = self.options.images
        job["deadline"] = self._deadline(self.left_to_search())
        result = self.worker.run(job, lambda event: self.watch({**event, "trial": number}))
        trial = Trial(number, tried.settings, tried.share, **result)
        self.watch({"event": "trial", "trial": number, "result": trial})
        return trial

    def job(
        self, settings: Settings, seed: int, share: float = 1.0, batch: int = 0
    ) -> dict[str, Any]:
        """Returns what a worker is told: full training on all images, unless changed."""
        head, plan = self.trained(settings, batch)
        phases = [dataclasses.replace(p, epochs=max(round(p.epochs * share), 1)) for p in plan]
        return {
            "manifest": str(self.manifest),
            "model": str(self.start),
            "head": dataclasses.asdict(head),
            "phases": [dataclasses.asdict(phase) for phase in phases],
            "seed": seed,
            "images": None,
            "store": str(self.store.folder),
            "engine": self.store.engine,
            "deadline": None,
            "out": None,
        }

    def trained(self, settings: Settings, batch: int = 0) -> tuple[Head, tuple[Phase, ...]]:
        """Returns head and phases of some settings, with batches no larger than memory allowed."""
        head, phases = phases_of(settings, self.plan, self.model.head)
        if not batch:
            return head, phases
        sizes = [min(phase.batch_size, batch) for phase in phases]
        return head, tuple(
            dataclasses.replace(phase, batch_size=size)
            for phase, size in zip(phases, sizes, strict=True)
        )

    def confirm(self) -> None:
        """Trains the default and the best on all images, seed by seed, while there is time."""
        default = self.study.trials.get(0)
        best = [trial for trial in self.study.ranked if trial.number][: self.options.finalists]
        chosen = [*([default] if default and default.status != "cut" else []), *best]
        for repeat in range(self.options.repeats):
            for trial in chosen:
                if repeat and self.left() < self._longest():
                    return
                self._again(trial, self.options.seed + 1 + repeat)

    def _deadline(self, left: float) -> float | None:
        return None if left == float("inf") else self.clock() + left

    def _longest(self) -> float:
        return max(self._took, default=0.0)

    def _again(self, trial: Trial, seed: int) -> None:
        """Trains one finalist from one seed, unless an earlier call has."""
        out = self.study.folder / "finalists" / f"{trial.number:04d}-{seed}"
        if not (out / "val_logits.npy").exists():
            if self.left() <= 0:
                return
            job = self.job(trial.settings, seed, batch=trial.batch_size)
            job |= {"out": str(out), "deadline": self._deadline(self.left())}
            self.watch({"event": "finalist", "trial": trial.number, "seed": seed})
            result = self.worker.run(job, lambda e: self.watch({**e, "trial": trial.number}))
            self._took.append(result["seconds"])
            if result["batch_size"]:  # more images need more memory than the proxy did
                trial.batch_size = result["batch_size"]
                self.study.add(trial)
            if result["status"] != "done":
                self._drop(trial, seed, result)
                (out / "val_logits.npy").unlink(missing_ok=True)
                return
        self.confirmed.setdefault(trial.number, []).append(out)

    def _drop(self, trial: Trial, seed: int, result: dict[str, Any]) -> None:
        """Says what became of a finalist; settings that fail from one seed in three do not win."""
        say(f"Trial {trial.number}, seed {seed}: {result['status']}, {result['message']}")
        if result["status"] != "cut":
            self.unstable.add(trial.number)


def _space(space, plan, model) -> Space:
    base = default_space(plan, model.stages, model.head)
    if isinstance(space, Space):
        return space
    return load(space, base) if space is not None else base


def _folder(out, data: Data, model: Classifier) -> Path:
    name = Path(str(data.table.source)).name or "images"
    return Path(out) if out else Path("searches") / f"{name}-{model.backbone.name}"


def _usual(done: Sequence[Trial]) -> float:
    return float(np.median([trial.seconds for trial in done])) if done else 0.0
