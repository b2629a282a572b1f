"""Fine-tuning from end to end: what to train, what it will cost, and the training itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tlkit.advice.advise import quick_advice
from tlkit.features.store import Store
from tlkit.images.dataset import Data
from tlkit.models.classifier import Classifier
from tlkit.phases.phase import Phase
from tlkit.planning import estimate
from tlkit.planning.budget import Limits, expected, fit
from tlkit.planning.estimate import Estimate
from tlkit.progress import say
from tlkit.text import duration
from tlkit.training.deadline import Deadline
from tlkit.training.run import Run
from tlkit.training.train import train


def fine_tune(
    model: Classifier,
    data: Data,
    phases: Sequence[Phase] | None = None,
    *,
    max_minutes: float | None = None,
    max_memory: float | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    callbacks: Sequence[Any] = (),
    store: Store | None = None,
) -> Run:
    """Trains the head on frozen features, then the upper stages at reduced rates.

    A short job without limits is not worth timing, and nothing is said of its cost.

    Args:
        model: Changed in place; ends with the best weights seen.
        data: What `load_images` returned. Its test split is not touched.
        phases: What is trained, in order; see `phases_for` for what happens without them.
        max_minutes: End in this time, with what is best by then.
        max_memory: Gigabytes above which features are mapped from disk.
        out: Run folder, `runs/<data>-<backbone>` by default; an existing run is never overwritten.
        seed: Fixes order, views and dropout. The same seed on CPU gives identical numbers.
        callbacks: Keras callbacks; they see epochs numbered through all phases.
        store: Where decoded pixels and frozen features are kept.

    Raises:
        TlkitError: Classes of model and data differ, the run folder is taken, or the limits are
            too narrow for one epoch of each phase.
        AuditError: A frozen variable changed or an open one did not.
    """
    store = store or Store.default()
    limits, cost = Limits(max_minutes, max_memory), None
    phases = phases_for(model, data, phases, store)
    clocks = [] if max_minutes is None else [Deadline(60 * max_minutes)]
    if limits != Limits() or estimate.worth(data, phases):
        phases, cost, lines = fit(model, data, phases, limits, store=store, seed=seed)
        for line in lines:
            say(line)
    callbacks = [*callbacks, *clocks]
    run = train(model, data, phases, out=out, seed=seed, callbacks=callbacks, store=store)
    if cost:
        run.say(compare(cost, run))
    return run


def phases_for(
    model: Classifier,
    data: Data,
    phases: Sequence[Phase] | None = None,
    store: Store | None = None,
) -> tuple[Phase, ...]:
    """Returns `phases`, or those that linear probes on frozen features choose, and says why.

    The one place where it is decided what is trained if nothing is said: `fine_tune`, a recipe
    without phases and the first trial of a search all ask here.
    """
    return tuple(quick_advice(model, data, store).phases if phases is None else phases)


def compare(cost: Estimate, run: Run) -> str:
    """Returns one line: what was estimated, for the epochs that were trained, and what it took."""
    estimated = duration(expected(cost, [record["epochs"] for record in run.records]))
    return f"Estimated for these epochs {estimated}, took {duration(run.seconds)}."
