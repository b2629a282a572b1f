"""Freeze, train the head, unfreeze, train at reduced rates: a list of phases, run and proven.

Each phase trains only what lies above its freeze boundary, on features cached at that boundary.
After every epoch the whole state is on disk, and after every phase an audit has shown that frozen
variables are bit-equal and open ones moved. The best weights by validation loss, over all phases,
are what the run returns.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tlkit.augmentation import policies
from tlkit.errors import TlkitError
from tlkit.features import decoded
from tlkit.features.store import Store
from tlkit.images.dataset import Data
from tlkit.models.classifier import Classifier
from tlkit.phases.phase import Phase, from_scratch, head_then_upper
from tlkit.training.run import Run
from tlkit.training.session import Session


def train(
    model: Classifier,
    data: Data,
    phases: Sequence[Phase],
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
        phases: What is trained, in order.
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
    for phase in phases:
        model.boundary_below(phase.unfreeze)  # an unknown stage is an error now, not in an hour
        policies.policy(phase.augment, phase.strength)
    store = store or Store.default()
    with decoded.decoding_ahead(store, data.train, model.rule):
        run = Run.create(out, model, data, phases, seed)
        return Session(run, callbacks, store).finish()


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
        TlkitError: The folder holds no run, its checkpoint is gone, or its images have changed.
    """
    run = Run.open(folder)
    if run.finished:
        raise TlkitError(f"{folder} is finished: there is nothing to resume.")
    if not run.checkpoint.exists():
        raise TlkitError(f"{run.checkpoint} is missing: the run cannot go on. Start it anew.")
    run.require_data(source)
    return Session(run, callbacks, store).finish()


def default_phases(model: Classifier, **changes: Any) -> tuple[Phase, ...]:
    """Returns phases that ask nothing of the data, each with `changes` to its fields.

    They are the head and then the upper stages, or one long phase for a network without weights.
    """
    random = model.backbone.weights.startswith("random")
    plan = from_scratch() if random else head_then_upper(model.stages)
    known = {field.name for field in dataclasses.fields(Phase)}
    for name in changes.keys() - known:
        raise TlkitError(f"A phase has no field {name!r}. Known: {', '.join(sorted(known))}.")
    return tuple(dataclasses.replace(phase, **changes) for phase in plan)
