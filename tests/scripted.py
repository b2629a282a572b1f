"""A trainee that does as a script says, and small pictures in memory: the session's rules alone.

Every epoch leaves a mark in each variable it trains, so that weights tell which epoch they are of.
"""

import contextlib
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tests.conftest import UNSORTED, tiny_backbone
from tlkit.models.classifier import Classifier
from tlkit.phases.phase import Phase
from tlkit.training import phase_trainer as training
from tlkit.training.run import Run
from tlkit.training.session import Session

HEAD = Phase("head", epochs=4, patience=9, views=1, augment="none", batch_size=16)
TAIL = dataclasses.replace(HEAD, name="tail", unfreeze="stage3")
DEEPER = dataclasses.replace(HEAD, name="deeper", unfreeze="stage2")


def pictures(count: int = 24, seed: int = 0, side: int = 32):
    """Returns what `load_images` takes: noise in which each class has its own channel brighter."""
    draw = np.random.default_rng(seed)
    labels = draw.permutation(np.repeat(np.arange(3), count))
    pixels = draw.integers(0, 150, (len(labels), side, side, 3))
    brighter = np.array([("red", "green", "blue").index(name) for name in UNSORTED])
    pixels[np.arange(len(labels)), :, :, brighter[labels]] += 60
    return pixels.astype(np.uint8), labels, UNSORTED


def new_model(**options) -> Classifier:
    """Returns a classifier of the pictures' classes."""
    return Classifier(tiny_backbone(), UNSORTED, **options)


def logits_of(loss: float, labels: np.ndarray) -> np.ndarray:
    """Returns logits for three classes of which every row has this log loss."""
    if not math.isfinite(loss):
        return np.full((len(labels), 3), loss, np.float32)
    logits = np.zeros((len(labels), 3), np.float32)
    logits[np.arange(len(labels)), labels] = -math.log(math.expm1(loss) / 2)
    return logits


@dataclasses.dataclass
class Epoch:
    """What the session asked of one epoch."""

    phase: str
    seed: tuple[int, ...]
    epoch: int
    past: list[float]
    together: int
    rows: Any
    before: dict[str, np.ndarray]


@dataclasses.dataclass
class Script:
    """Validation losses, or whole logits, by the name of a phase; training losses if not 1.

    Attributes:
        still: Epochs of this number move no variable.
        judging: What is added to the open variables while they are judged.
        epochs: What was asked of each epoch.
        judged: The rows that were judged, and whether the weights were those to be judged.
        run: The run that plays it.
    """

    losses: dict[str, Sequence[Any]]
    training: dict[tuple[str, int], float] = dataclasses.field(default_factory=dict)
    still: tuple[int, ...] = ()
    judging: float = 0.0
    epochs: list[Epoch] = dataclasses.field(default_factory=list)
    judged: list[tuple[Any, bool]] = dataclasses.field(default_factory=list)
    run: Run | None = None

    def __call__(self, model, phase):
        return Scripted(model, phase, self)


class Scripted(training.Trainee):
    """Trains as its script says."""

    def __init__(self, model, phase, script):
        super().__init__(model, phase)
        self.script = script
        self.now = 0
        self.in_place = False

    def epoch(self, rows, seed, epoch, past=()):
        """Marks every open variable with 10 x the phase + the epoch, both counted from 1."""
        before = values(self.model)
        name, self.now = self.phase.name, epoch
        asked = Epoch(name, tuple(seed), epoch, list(past), self.together, rows, before)
        self.script.epochs.append(asked)
        if epoch not in self.script.still:
            mark(self.variables, 10 * (seed[1] + 1) + epoch + 1)
        loss = self.script.training.get((name, epoch), 1.0)
        rest = len(rows) - 10
        yield {"loss": loss, "right": 4, "count": 10, "rate": 0.5}
        yield {"loss": 3 * loss, "right": 2, "count": rest, "rate": 0.25}

    def logits(self, rows, batch=256):
        """Answers with the logits of the script, whose last number goes on for ever."""
        self.script.judged.append((rows, self.in_place))
        answers = self.script.losses[self.phase.name]
        answer = answers[min(self.now, len(answers) - 1)]
        return logits_of(answer, rows.labels) if np.isscalar(answer) else np.asarray(answer)

    @contextlib.contextmanager
    def judged(self):
        """Adds the script's number to the weights meanwhile, as an average would change them."""
        self.in_place = True
        for variable in self.variables:
            variable.assign_add(keras.ops.full(variable.shape, self.script.judging))
        yield
        for variable in self.variables:
            variable.assign_sub(keras.ops.full(variable.shape, self.script.judging))
        self.in_place = False


def mark(variables, number: float) -> None:
    """Fills variables with a number."""
    for variable in variables:
        variable.assign(np.full(variable.shape, number, variable.dtype))


def values(model: Classifier) -> dict[str, np.ndarray]:
    """Returns the weights by path."""
    return {v.path: v.numpy().copy() for v in model.keras_model.weights}


def played(folder, data, plan, script, *, model=None, callbacks=(), store=None, seed=0) -> Session:
    """Trains a run of which nothing is kept as the script says, and returns its session."""
    run = Run(folder, model or new_model(), plan, seed)
    run.data, script.run = data, run
    session = Session(run, callbacks, store, script)
    session.train()
    return session


def finished(folder, data, plan, script, *, model=None, callbacks=(), store=None, seed=0) -> Run:
    """Makes a run and finishes it as the script says."""
    script.run = run = Run.create(folder, model or new_model(), data, plan, seed)
    return Session(run, callbacks, store, script).finish()
