"""Freeze, train the head, unfreeze, train at reduced rates: a list of phases, run and proven.

Each phase trains only what lies above its freeze boundary, on features cached at that boundary.
After every epoch the whole state is on disk, and after every phase an audit has shown that frozen
variables are bit-equal and open ones moved. The best weights by validation loss, over all phases,
are what the run returns.
"""

import dataclasses
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlkit import augment, calibration, checkpoint, features, files, phases, progress, training
from tlkit.audit import Audit
from tlkit.data import Data
from tlkit.errors import TlkitError
from tlkit.model import PIXELS, POOLED, Classifier
from tlkit.phases import Phase
from tlkit.run import Run
from tlkit.store import Store


def fine_tune(
    model: Classifier,
    data: Data,
    plan: Sequence[Phase] | None = None,
    *,
    out: str | Path | None = None,
    seed: int = 0,
    callbacks: Sequence[Any] = (),
    store: Store | None = None,
) -> Run:
    """Trains `model` on `data` and returns the run.

    Args:
        model: Changed in place; ends with the best weights seen.
        data: What `load_images` returned. Its test split is not touched.
        plan: The phases; `default_phases(model)` if None.
        out: Run folder, `runs/<data>-<backbone>` by default; an existing run is never overwritten.
        seed: Fixes order, views and dropout. The same seed on CPU gives identical numbers.
        callbacks: Keras callbacks; they see epochs numbered through all phases.
        store: Where decoded pixels and frozen features are kept.

    Raises:
        TlkitError: Classes of model and data differ, or the run folder is taken.
        AuditError: A frozen variable changed or an open one did not.
    """
    if tuple(data.class_names) != model.class_names:
        raise TlkitError(
            f"The model has the classes {model.class_names}, the data {tuple(data.class_names)}."
        )
    plan = tuple(plan) if plan is not None else default_phases(model)
    for phase in plan:
        model.boundary_below(phase.unfreeze)  # an unknown stage is an error now, not in an hour
        augment.policy(phase.augment)
    run = Run.create(out, model, data, plan, seed)
    return _Session(run, callbacks, store).finish()


def resume(
    folder: str | Path,
    *,
    source: Any = None,
    callbacks: Sequence[Any] = (),
    store: Store | None = None,
) -> Run:
    """Continues an interrupted run; ends bit-equal to one that was never interrupted.

    Args:
        source: The arrays the run was given, or where a folder of images has moved to.

    Raises:
        TlkitError: The folder holds no run, or its images have changed since.
    """
    run = Run.open(folder)
    if run.finished:
        raise TlkitError(f"{folder} is finished: there is nothing to resume.")
    run.require_data(source)
    return _Session(run, callbacks, store).finish()


def default_phases(model: Classifier, **changes: Any) -> tuple[Phase, ...]:
    """Returns the phases `fine_tune` uses, each with `changes` to its fields."""
    random = model.backbone.weights.startswith("random")
    plan = phases.from_scratch() if random else phases.head_then_upper(model.stages)
    known = {field.name for field in dataclasses.fields(Phase)}
    for name in changes.keys() - known:
        raise TlkitError(f"A phase has no field {name!r}. Known: {', '.join(sorted(known))}.")
    return tuple(dataclasses.replace(phase, **changes) for phase in plan)


@dataclasses.dataclass
class _Best:
    """The best epoch so far, over all phases."""

    loss: float = math.inf
    epoch: int = -1  # numbered through all phases; -1 is the model before training
    since: int = 0  # epochs of this phase without a better one


class _Session:
    """Drives one run from wherever its checkpoint stands to the end."""

    def __init__(self, run: Run, callbacks, store):
        self.run = run
        self.model = run.model
        self.store = store or Store.default()
        self.frozen = features.Frozen(self.model, self.store)
        self.best = _Best()
        self.kept: dict[int, tuple[Any, np.ndarray]] = {}
        self.first_phase, self.first_epoch = 0, 0
        self.arrays: dict[str, list[np.ndarray]] = {}
        self.audit_state: dict | None = None
        self.callbacks = training.callback_list(callbacks, self.model.keras_model)
        self._restore()

    def finish(self) -> Run:
        """Trains what is left, calibrates, saves and returns the run."""
        self.callbacks.on_train_begin()
        for number in range(self.first_phase, len(self.run.phases)):
            if self.run.stopped:
                break
            self._phase(number)
        self.callbacks.on_train_end()
        validation = self.run.data.val
        rows = features.pixel_rows(self.store, validation, self.model.rule)
        logits = self.model.logits(rows)
        self.model.temperature = calibration.fit_temperature(logits, validation.labels)
        self.run.complete()
        self.run.checkpoint.unlink(missing_ok=True)
        return self.run

    def _phase(self, number: int):
        phase = self.run.phases[number]
        trainee = training.Trainee(self.model, phase)
        self._remember(trainee.moving)
        train, validation = self._rows(phase, trainee)
        start = self._begin(number, trainee)
        audit = Audit(trainee.frozen, trainee.groups, self.audit_state)
        self.audit_state = audit.state()
        began = time.perf_counter()
        for epoch in range(start, phase.epochs):
            row = self._epoch(number, epoch, trainee, train, validation)
            if self._judge(row, trainee):
                self._save(number, epoch + 1, trainee)
            if self._should_stop(phase):
                break
        audit.check(trained=not self.run.stopped)
        self._put_back()
        self.audit_state = None
        self.first_epoch = 0
        self.run.record_phase(number, trainee, self.best.epoch, time.perf_counter() - began)
        self._save(number + 1, 0, None)

    def _begin(self, number, trainee) -> int:
        """Puts an interrupted phase back to its last epoch; returns the epoch to go on with."""
        if number != self.first_phase or not self.first_epoch:
            self.best.since = 0
            return 0
        checkpoint.assign(trainee.moving, self.arrays["moving"])
        checkpoint.assign(trainee.optimizer.variables, self.arrays["optimizer"])
        return self.first_epoch

    def _epoch(self, number, epoch, trainee, train, validation) -> dict[str, Any]:
        done = len(self.run.history)
        self.callbacks.on_epoch_begin(done)
        began = time.perf_counter()
        loss = right = 0.0
        steps = -(-len(train) // trainee.phase.batch_size)
        ticks = trainee.epoch(train, (self.run.seed, number), epoch)
        title = f"{trainee.phase.name}, epoch {epoch + 1} of {trainee.phase.epochs}"
        step = {}
        for i, step in enumerate(progress.track(ticks, title, steps, trainee.phase.batch_size)):
            loss += step["loss"] * step["count"]
            right += step["right"]
            self.callbacks.on_train_batch_end(i, {"loss": step["loss"]})
        logits = trainee.logits(validation)
        row = {
            "epoch": done,
            "phase": trainee.phase.name,
            "loss": loss / len(train),
            "accuracy": right / len(train),
            "val_loss": _log_loss(logits, validation.labels),
            "val_accuracy": float(np.mean(logits.argmax(-1) == validation.labels)),
            "learning_rate": step["rate"],
            "seconds": time.perf_counter() - began,
        }
        self.callbacks.on_epoch_end(done, dict(row))
        return row

    def _judge(self, row, trainee) -> bool:
        """Keeps the epoch if it is the best; returns False once a value is not finite."""
        if not (math.isfinite(row["loss"]) and math.isfinite(row["val_loss"])):
            self.run.stopped = (
                f"The loss became {row['loss']} in epoch {row['epoch'] + 1} ({row['phase']}); the "
                "best model before it was kept. A lower rate usually helps."
            )
            progress.say(self.run.stopped)
            return False
        self.run.append(row)
        if row["val_loss"] < self.best.loss:
            self.best = _Best(row["val_loss"], row["epoch"], 0)
            self._remember(self.model.variables, only_known=True)
        else:
            self.best.since += 1
        return True

    def _should_stop(self, phase) -> bool:
        asked = bool(self.model.keras_model.stop_training)
        return bool(self.run.stopped) or asked or self.best.since >= phase.patience

    def _rows(self, phase: Phase, trainee) -> tuple[features.Rows, features.Rows]:
        """Returns training and validation rows at the phase's boundary."""
        policy = augment.policy(phase.augment)
        views = [features.View(policy, self.run.seed, number) for number in range(phase.views)]
        if policy == augment.POLICIES["none"]:
            views = views[:1]
        self.frozen.forget()
        boundary, below = trainee.boundary, self._below(phase, trainee.boundary)
        train = self.frozen.training_rows(self.run.data.train, boundary, views, below)
        validation = self.frozen.training_rows(self.run.data.val, boundary, [features.View()], below)
        self.run.say(self.frozen.note(self.run.data.train, boundary, len(views)))
        return train, validation

    def _below(self, phase, boundary) -> str:
        """The boundary a later phase will cache: worth computing first and starting from."""
        if boundary != POOLED:
            return PIXELS
        later = self.run.phases[self.run.phases.index(phase) + 1 :]
        wanted = [p for p in later if (p.augment, p.views) == (phase.augment, phase.views)]
        boundaries = {self.model.boundary_below(p.unfreeze) for p in wanted} - {POOLED}
        order = [PIXELS, *self.model.stages]
        return max(boundaries, key=order.index, default=PIXELS)

    def _remember(self, variables, only_known: bool = False):
        for variable in variables:
            if id(variable) in self.kept or not only_known:
                self.kept[id(variable)] = (variable, variable.numpy().copy())

    def _put_back(self):
        for variable, value in self.kept.values():
            variable.assign(value)

    def _save(self, number: int, epoch: int, trainee):
        """Writes all that the next epoch depends on."""
        places = {id(v): i for i, v in enumerate(self.model.variables)}
        facts = {
            "phase": number,
            "epoch": epoch,
            "best": dataclasses.asdict(self.best),
            "kept": [places[key] for key in self.kept],
            "variables": _layout(self.model),
            "audit": self.audit_state,
            "history": self.run.history,
            "records": self.run.records,
            "stopped": self.run.stopped,
        }
        groups = {"kept": [value for _, value in self.kept.values()]}
        groups["random"] = checkpoint.values(_random_states(self.model))
        if trainee is not None:
            groups["moving"] = checkpoint.values(trainee.moving)
            groups["optimizer"] = checkpoint.values(trainee.optimizer.variables)
        checkpoint.write(self.run.checkpoint, facts, groups)

    def _restore(self):
        """Takes up the checkpoint; a run without one gets its first, for dropout's random states."""
        if not self.run.checkpoint.exists():
            self._save(0, 0, None)
            return
        facts, self.arrays = checkpoint.read(self.run.checkpoint)
        variables = self.model.variables
        if facts["variables"] != _layout(self.model):
            raise TlkitError(f"{self.run.checkpoint} belongs to another network.")
        self.first_phase, self.first_epoch = facts["phase"], facts["epoch"]
        self.best = _Best(**facts["best"])
        self.audit_state = facts["audit"]
        self.run.history, self.run.records = facts["history"], facts["records"]
        self.run.stopped = facts["stopped"]
        checkpoint.assign(_random_states(self.model), self.arrays.get("random", []))
        for place, value in zip(facts["kept"], self.arrays.get("kept", []), strict=True):
            self.kept[id(variables[place])] = (variables[place], value)
        self._put_back()


def _random_states(model: Classifier) -> list[Any]:
    """Returns the state of every random layer; `.keras` files do not hold them."""
    weights = {id(variable) for variable in model.keras_model.weights}
    return [variable for variable in model.variables if id(variable) not in weights]


def _layout(model: Classifier) -> str:
    """Returns a digest of the variables' names and shapes; paths hold counters of the process."""
    return files.combined_hash([(v.name, list(v.shape)) for v in model.variables])


def _log_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean cross-entropy in nats; NaN logits give NaN, which ends the run."""
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    chosen = shifted[np.arange(len(labels)), labels]
    return float(np.mean(np.log(np.exp(shifted).sum(-1)) - chosen))
