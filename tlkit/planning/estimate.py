"""What a plan will cost on this machine, from a few timed steps, before the plan is run.

Decoding, the frozen part and a training step of each phase are timed on a handful of images; the
rest is counting. The estimate is for all epochs: early stopping may end a phase sooner.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence

from tlkit import progress
from tlkit.features import frozen
from tlkit.features.store import Store
from tlkit.images.dataset import Data
from tlkit.memory import held_mb
from tlkit.models.classifier import Classifier
from tlkit.models.network import PIXELS
from tlkit.phases.phase import Phase, view_count
from tlkit.planning.counting import Counter, Sizes
from tlkit.planning.timing import Timer, Timings, byte_count
from tlkit.text import duration
from tlkit.training.untouched import untouched

WORTH = 20_000  # images passed through the network from which timing a few steps pays
STEP_PASSES = 3  # passes forward a training step is worth: going back takes about two
COPIES = 4  # of a trained weight: its value, its best one, and two momenta of the optimizer
DISK_RATE = 400e6  # bytes a second a checkpoint is written at
EPOCH = 0.01  # seconds an epoch takes by itself: a checkpoint, a line, two threads
LAYER_SAVE = 0.004  # seconds for each layer of a saved model, and for its graph to be traced
OVERHEAD = 150e6  # bytes that are still to come besides what is counted here


@dataclasses.dataclass(frozen=True)
class PhaseCost:
    """What one phase takes, in seconds and bytes.

    Attributes:
        views: Seconds for the frozen part of training images not in the cache, all views.
        others: Seconds for decoding and for the validation images.
        start: Seconds for compiling.
        epoch: Seconds for one epoch with its validation and checkpoint.
        epochs: At most.
        cache: Bytes of the rows it trains on; 0 if they are computed live.
    """

    name: str
    views: float
    others: float
    start: float
    epoch: float
    epochs: int
    cache: int

    @property
    def rows(self) -> float:
        """Seconds before the first epoch but for compiling."""
        return self.views + self.others

    @property
    def seconds(self) -> float:
        """All of the phase, if no epoch is left out."""
        return self.rows + self.start + self.epoch * self.epochs


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The cost of a plan. `print` shows it as a table.

    Attributes:
        phases: One entry for each phase.
        memory: Most bytes of the process at any time.
        saving: Seconds for writing the model before and after training.
        held: Bytes of `memory` that are rows; the store can map them from disk instead.
        views: Most views one phase holds at a time: the store's limit is for each by itself.
    """

    phases: tuple[PhaseCost, ...]
    memory: float
    saving: float
    held: int = 0
    views: int = 1

    @property
    def seconds(self) -> float:
        """All of it, if no epoch is left out."""
        return sum(phase.seconds for phase in self.phases) + self.saving

    @property
    def cache(self) -> int:
        """Bytes of all cached feature rows."""
        return sum(phase.cache for phase in self.phases)

    def __str__(self) -> str:
        lines = [
            f"Estimate: at most {duration(self.seconds)}, {self.memory / 1e9:.1f} GB of memory, "
            f"{self.cache / 1e6:,.0f} MB of cached features"
        ]
        lines += [
            f"  {phase.name:<12} features {phase.rows:5.1f} s, start {phase.start:4.1f} s, "
            f"{phase.epochs} epochs of {phase.epoch:.2f} s at most"
            for phase in self.phases
        ]
        return "\n".join(lines)


def worth(data: Data, plan: Sequence[Phase]) -> bool:
    """Says whether the job is long enough for timing some steps of it."""
    passes = sum(
        len(data.train)
        * (view_count(phase) + (STEP_PASSES * phase.epochs if phase.unfreeze else 0))
        for phase in plan
    )
    return passes >= WORTH


def estimate(
    model: Classifier,
    data: Data,
    plan: Sequence[Phase],
    *,
    store: Store | None = None,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> Estimate:
    """Returns the cost of `plan` by timing a few steps; weights and flags end as they were.

    It takes some seconds itself, and the model ends compiled for another optimizer. Rows already
    in the store cost nothing.

    Args:
        model: As it will be trained.
        plan: The phases, all of them.
        seed: Of the run, which its views depend on.
        clock: Seconds by which the steps are timed.

    Raises:
        AuditError: The model could not be put back.
    """
    compiled = ("compilation", "optimizer")  # each phase compiles anew
    with progress.silenced(), untouched(model, "The estimate", but=compiled):
        below = frozen.Frozen(model, store or Store.default())
        counter = Counter(below, data, tuple(plan), seed)
        timer = Timer(below, data.train, seed=seed, clock=clock)
        phases = tuple(
            cost(timer.timings(phase), counter.sizes(number), phase)
            for number, phase in enumerate(plan)
        )
        held = _held(below, data, plan, phases)
        return Estimate(
            phases,
            memory=1e6 * held_mb() + OVERHEAD + held + COPIES * byte_count(model.variables),
            saving=2 * LAYER_SAVE * len(model.backbone.net.layers),
            held=held,
            views=max((view_count(phase) for phase in plan), default=1),
        )


def cost(timings: Timings, sizes: Sizes, phase: Phase) -> PhaseCost:
    """Returns what `phase` takes: arithmetic on what was timed and what was counted."""
    # Cached rows are computed once, before the first epoch; others in every epoch, and so their
    # views. Validation images have none: they are judged as they are.
    live, draw = (0.0, 0.0) if sizes.cached else (timings.forward, timings.draw)
    training = (timings.step + live + draw) * sizes.train
    # To judge a row takes the forward pass of a step, without the way back.
    judging = (timings.step / STEP_PASSES + live) * sizes.val
    # A checkpoint after every epoch has what is trained, besides little of fixed size.
    writing = EPOCH + COPIES * timings.open_bytes / DISK_RATE
    # The frozen part is not compiled where all its rows are there.
    compiling = timings.compile if sizes.views or not sizes.cached else 0.0
    return PhaseCost(
        name=phase.name,
        views=(timings.forward + timings.draw) * sizes.views,
        others=timings.decode * sizes.decoded + timings.forward * sizes.judged,
        start=timings.trace + compiling,
        epoch=training + judging + writing,
        epochs=phase.epochs,
        cache=sizes.cache,
    )


def _held(
    below: frozen.Frozen, data: Data, plan: Sequence[Phase], phases: Sequence[PhaseCost]
) -> int:
    """Returns the bytes of rows in memory: a view beyond the store's limit is mapped."""
    store = below.store
    pixel_bytes = below.row_bytes(PIXELS) * (len(data.train) + len(data.val))
    caches = [phase.cache for phase in phases]
    if store.folder is None:  # every kind stays, and is copied in the order asked for
        return 2 * (sum(caches) + pixel_bytes)
    counts = [view_count(phase) for phase in plan]
    kept = [c for c, n in zip(caches, counts, strict=True) if c <= n * store.memory]
    return max(kept, default=0) + (pixel_bytes if pixel_bytes <= store.memory else 0)
