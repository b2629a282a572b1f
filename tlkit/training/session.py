"""Drives one run through its phases, from wherever its checkpoint stands to the end."""

import dataclasses
import math
import time
from typing import Any

import numpy as np

from tlkit import progress
from tlkit.augmentation import policies
from tlkit.errors import TlkitError
from tlkit.features import frozen as features
from tlkit.models.network import PIXELS, POOLED
from tlkit.phases.phase import view_count
from tlkit.training import checkpoint, phase_trainer
from tlkit.training.audit import Audit
from tlkit.training.deadline import Deadline
from tlkit.training.run import Run


@dataclasses.dataclass
class _Best:
    """The best epoch so far, over all phases."""

    loss: float = math.inf
    epoch: int = -1  # numbered through all phases; -1 is the model before training
    since: int = 0  # epochs of this phase without a better one


class Session:
    """Drives one run from wherever its checkpoint stands to the end.

    Args:
        trainee: Called with the model and a phase, gives what trains the phase.
    """

    def __init__(self, run: Run, callbacks, store, trainee=phase_trainer.Trainee):
        self.run = run
        self.trainee = trainee
        self.data = run.require_data()
        self.model = run.model
        run.store = store or run.store
        self.frozen = features.Frozen(self.model, run.store)
        # Asking a network for its variables walks all of it, and every epoch is saved.
        self.variables = self.model.variables
        self.random = checkpoint.random_states(self.model)
        self.layout = checkpoint.layout(self.variables)
        self.best = _Best()
        self.best_logits = np.zeros((len(self.data.val), len(self.model.class_names)), np.float32)
        self.kept: dict[int, tuple[Any, np.ndarray]] = {}
        self.first_phase, self.first_epoch = 0, 0
        self.arrays: dict[str, list[np.ndarray]] = {}
        self.audit_state: dict | None = None
        self.clocks = [callback for callback in callbacks if isinstance(callback, Deadline)]
        self.callbacks = phase_trainer.callback_list(callbacks, self.model.keras_model)
        self._restore()

    def finish(self) -> Run:
        """Trains what is left, calibrates, saves and returns the run."""
        self.train()
        self.model.calibrate(self.best_logits, self.data.val.labels)
        self.run.complete(self.best_logits)
        self.run.checkpoint.unlink(missing_ok=True)
        return self.run

    def train(self) -> None:
        """Trains what is left; the model ends with the best weights, `best_logits` are theirs."""
        self.callbacks.on_train_begin()
        for number in range(self.first_phase, len(self.run.phases)):
            if self.run.stopped:
                break
            if self.run.history and any(clock.due() for clock in self.clocks):
                self.run.say(f"The time is up: {self.run.phases[number].name} is left out.")
                break
            self._phase(number)
        self.callbacks.on_train_end()

    def _phase(self, number: int):
        phase = self.run.phases[number]
        trainee = self.trainee(self.model, phase)
        # A callback may look at the weights after any batch: then each is a call of its own.
        trainee.together = 1 if self.callbacks.callbacks else phase_trainer.TOGETHER
        self._remember(trainee.moving)
        train, validation = self._rows(number, trainee)
        start = self._begin(number, trainee)
        audit = Audit(trainee.frozen, trainee.groups, self.audit_state)
        self.audit_state = audit.state()
        began = time.perf_counter()
        self.model.keras_model.stop_training = False
        for epoch in range(start, phase.epochs):
            if self._should_stop(phase):  # also where the interrupted run had just decided to
                break
            row, logits = self._epoch(number, epoch, trainee, train, validation)
            with trainee.judged():
                sound = self._judge(row, logits)
            if sound:
                self._save(number, epoch + 1, trainee)
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
        checkpoint.assign(trainee.memory, self.arrays.get("memory", []))
        return self.first_epoch

    def _epoch(
        self, number, epoch, trainee, train, validation
    ) -> tuple[dict[str, Any], np.ndarray]:
        done = len(self.run.history)
        self.callbacks.on_epoch_begin(done)
        began = time.perf_counter()
        loss = right = 0.0
        steps = -(-len(train) // trainee.phase.batch_size)
        before = sum(record["epochs"] for record in self.run.records)
        past = [row["val_loss"] for row in self.run.history[before:]]
        ticks = trainee.epoch(train, (self.run.seed, number), epoch, past)
        title = f"{trainee.phase.name}, epoch {epoch + 1} of {trainee.phase.epochs}"
        step: dict[str, float] = {}
        for i, step in enumerate(progress.track(ticks, title, steps, trainee.phase.batch_size)):
            loss += step["loss"] * step["count"]
            right += step["right"]
            self.callbacks.on_train_batch_end(i, {"loss": step["loss"]})
        with trainee.judged():
            logits = trainee.logits(validation)
        judged = self.model.judge(logits, validation.labels)
        row = {
            "epoch": done,
            "phase": trainee.phase.name,
            "loss": loss / len(train),
            "accuracy": right / len(train),
            **{f"val_{name}": value for name, value in judged.items()},
            "learning_rate": step["rate"],
            "seconds": time.perf_counter() - began,
        }
        with trainee.judged():  # who saves the model here saves what the row speaks of
            self.callbacks.on_epoch_end(done, dict(row))
        return row, logits

    def _judge(self, row, logits) -> bool:
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
            self.best_logits = logits
            self._remember(self.variables, only_known=True)
        else:
            self.best.since += 1
        return True

    def _should_stop(self, phase) -> bool:
        asked = bool(self.model.keras_model.stop_training)
        return bool(self.run.stopped) or asked or self.best.since >= phase.patience

    def _rows(self, number: int, trainee) -> tuple[features.Rows, features.Rows]:
        """Returns training and validation rows at the phase's boundary."""
        phase = trainee.phase
        policy = policies.policy(phase.augment, phase.strength)
        numbers = range(view_count(phase))
        views = [features.View(policy, self.run.seed, number) for number in numbers]
        if policy == policies.POLICIES["none"]:
            views = views[:1]
        self.frozen.forget()
        boundary, images = trainee.boundary, self.data.train
        below = boundary_of_same_pass(self.frozen, self.run.phases, number, images)
        train = self.frozen.training_rows(images, boundary, views, below)
        validation = self.frozen.training_rows(self.data.val, boundary, [features.View()], below)
        self.run.say(self.frozen.note(images, boundary, len(views)))
        return train, validation

    def _remember(self, variables, only_known: bool = False):
        for variable in variables:
            if id(variable) in self.kept or not only_known:
                self.kept[id(variable)] = (variable, variable.numpy().copy())

    def _put_back(self):
        for variable, value in self.kept.values():
            variable.assign(value)

    def _save(self, number: int, epoch: int, trainee):
        """Writes all that the next epoch depends on."""
        places = {id(v): i for i, v in enumerate(self.variables)}
        facts = {
            "phase": number,
            "epoch": epoch,
            "best": dataclasses.asdict(self.best),
            "kept": [places[key] for key in self.kept],
            "variables": self.layout,
            "audit": self.audit_state,
            "history": self.run.history,
            "records": self.run.records,
            "stopped": self.run.stopped,
        }
        groups = {"kept": [value for _, value in self.kept.values()]}
        groups["logits"] = [self.best_logits]
        groups["random"] = checkpoint.values(self.random)
        if trainee is not None:
            groups["moving"] = checkpoint.values(trainee.moving)
            groups["optimizer"] = checkpoint.values(trainee.optimizer.variables)
            groups["memory"] = checkpoint.values(trainee.memory)
        checkpoint.write(self.run.checkpoint, facts, groups)

    def _restore(self):
        """Takes up the checkpoint; a run that has not begun has random states in it, no more."""
        if not self.run.checkpoint.exists():  # a run of which nothing is kept
            return
        facts, self.arrays = checkpoint.read(self.run.checkpoint)
        if facts["variables"] != self.layout:
            raise TlkitError(f"{self.run.checkpoint} belongs to another network.")
        checkpoint.assign(self.random, self.arrays.get("random", []))
        if "phase" not in facts:
            return
        self.first_phase, self.first_epoch = facts["phase"], facts["epoch"]
        self.best = _Best(**facts["best"])
        self.audit_state = facts["audit"]
        self.run.history, self.run.records = facts["history"], facts["records"]
        self.run.stopped = facts["stopped"]
        (self.best_logits,) = self.arrays["logits"]
        for place, value in zip(facts["kept"], self.arrays.get("kept", []), strict=True):
            variable = self.variables[place]
            self.kept[id(variable)] = (variable, value)
        self._put_back()


def boundary_of_same_pass(frozen: features.Frozen, plan, number: int, images) -> str | None:
    """Returns the boundary a phase after a head will cache with the same views, or None.

    Its rows then come out of the pass that makes the head's.
    """
    model, phase = frozen.model, plan[number]
    if model.boundary_below(phase.unfreeze) != POOLED:
        return None
    views = view_count(phase)
    look = (phase.augment, phase.strength, views)
    wanted = [p for p in plan[number + 1 :] if (p.augment, p.strength, view_count(p)) == look]
    boundaries = {model.boundary_below(p.unfreeze) for p in wanted} - {POOLED, PIXELS}
    boundaries = {b for b in boundaries if frozen.fits(images, b, views)}
    return max(boundaries, key=model.stages.index, default=None)
