"""Fine-tuning from end to end: what to train, what it will cost, and the training itself."""

from collections.abc import Sequence
from typing import Any

from tlkit.features.store import Store
from tlkit.images.dataset import Data
from tlkit.models.classifier import Classifier
from tlkit.phases.phase import Phase
from tlkit.planning import estimate
from tlkit.planning.budget import Deadline, Limits, expected, fit
from tlkit.planning.estimate import Estimate
from tlkit.progress import say
from tlkit.text import duration
from tlkit.training import train
from tlkit.training.run import Run


def fine_tune(
    model: Classifier,
    data: Data,
    plan: Sequence[Phase],
    limits: Limits,
    *,
    store: Store | None = None,
    seed: int = 0,
    callbacks: Sequence[Any] = (),
    **options: Any,
) -> Run:
    """Trains as `tlkit.training.train.fine_tune` does, within limits, and says before what it will cost.

    A short job without limits is not worth timing, and nothing is said.
    """
    clocks = [] if limits.minutes is None else [Deadline(60 * limits.minutes)]
    store, cost = store or Store.default(), None
    if limits != Limits() or estimate.worth(data, plan):
        plan, cost, lines = fit(model, data, plan, limits, store=store, seed=seed)
        for line in lines:
            say(line)
    options |= {"callbacks": [*callbacks, *clocks], "store": store, "seed": seed}
    run = train.fine_tune(model, data, plan, **options)
    if cost:
        run.say(compare(cost, run))
    return run


def compare(cost: Estimate, run) -> str:
    """Returns one line: what was estimated, for the epochs that were trained, and what it took."""
    estimated = duration(expected(cost, [record["epochs"] for record in run.records]))
    return f"Estimated for these epochs {estimated}, took {duration(run.seconds)}."
