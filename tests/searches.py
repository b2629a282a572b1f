"""What the tests of a search share: a small space, a short plan, a worker that follows a script."""

import copy
from pathlib import Path

import numpy as np
import pytest

from tests import fake_trials
from tlkit.images.dataset import load_images
from tlkit.phases.phase import Phase
from tlkit.tuning.searcher import Options, Searcher
from tlkit.tuning.space import Row, Space
from tlkit.tuning.study import Trial

PLAN = (
    Phase("head", epochs=2, rate=0.02, views=2, augment="flip", batch_size=16),
    Phase("tail", unfreeze="stage3", epochs=2, rate=0.005, views=2, augment="flip", batch_size=16),
)
LINE = Space((
    Row("unfreeze", ("none", "stage3"), default="stage3"),
    Row("rate", low=1e-5, high=1e-1, log=True, default=5e-3, when=("unfreeze", ("stage3",))),
    Row("head_rate", low=1e-3, high=1e-1, log=True, default=0.02),
))  # fmt: skip


def silent(event):
    """A watcher that looks away."""


def nothing(**event):
    """A report that goes nowhere."""


def read(photos, home, **options):
    """Returns the photos with 30 validation images: with under 20 nothing is calibrated."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLKIT_HOME", str(home))
        return load_images(photos, val_share=0.25, **options)


class Clock:
    """A clock that is set by hand."""

    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now


def quadratic(job):
    """What a trial would say whose loss is a formula of its rate."""
    return fake_trials.quadratic(job, nothing, None)


class Script:
    """A worker that trains nothing: `play` says what comes of a job; each job is kept.

    Args:
        play: Returns what the task would; where a job has an `out`, `logits` are put there.
        clock: A `Clock` that every job moves on by the seconds it says it took.
    """

    def __init__(self, play=quadratic, clock=None):
        self.play, self.clock = play, clock
        self.jobs, self.stopped = [], False

    def run(self, job, watch=silent):
        self.jobs.append(copy.deepcopy(job))
        told = {"status": "done", "message": "", "seconds": 1.0, "batch_size": 0, "peak_mb": 0.0}
        told |= self.play(job)
        if self.clock is not None:
            self.clock.now += told["seconds"]
        logits = told.pop("logits", None)
        if job["out"] and logits is not None:
            Path(job["out"]).mkdir(parents=True)
            np.save(Path(job["out"]) / "val_logits.npy", logits)
        return told

    def stop(self):
        self.stopped = True


def searcher(model, data, out, worker=None, watch=silent, clock=None, **options):
    """Returns a search without a limit of time over `LINE`, unless told otherwise."""
    usual = {"minutes": None, "trials": 100, "space": LINE, "plan": PLAN, "memory": 4000.0}
    more = {"clock": clock} if clock else {}
    options = Options(out=out, **usual | options)
    return Searcher(model, data, options, watch, worker or Script(), **more)


def place(job):
    """Returns the number of the trial and the seed that a finalist's folder is named after."""
    number, seed = Path(job["out"]).name.split("-")
    return int(number), int(seed)


def sure(labels, chance, classes=3):
    """Returns logits that give every right label this chance: the log loss is -log(chance)."""
    logits = np.full((len(labels), classes), np.log((1 - chance) / (classes - 1)))
    logits[np.arange(len(labels)), labels] = np.log(chance)
    return logits


def ended(searching, losses):
    """Writes finished trials with these losses into a study; None is a trial that failed."""
    for number, loss in enumerate(losses):
        settings = {**LINE.default, "head_rate": round(0.02 + 0.001 * number, 4)}
        status = "done" if loss is not None else "failed"
        searching.study.add(Trial(number, settings, status=status, loss=loss, seconds=10.0))
