"""Budgets of time and memory: what a plan gives up to keep them, and the clock while it runs."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from tlkit.errors import TlkitError
from tlkit.features.store import Store
from tlkit.images.dataset import Data
from tlkit.models.classifier import Classifier
from tlkit.phases.phase import Phase, view_count
from tlkit.planning import estimate
from tlkit.planning.estimate import Estimate


class Limits(NamedTuple):
    """What a run may take: minutes of wall time, gigabytes of memory; None for no limit."""

    minutes: float | None = None
    memory: float | None = None


class Fitted(NamedTuple):
    """A plan within its limits, what it will cost, and both in words."""

    plan: tuple[Phase, ...]
    cost: Estimate
    lines: tuple[str, ...]


def fit(
    model: Classifier, data: Data, plan: Sequence[Phase], limits: Limits, *, store: Store, seed: int
) -> Fitted:
    """Times a few steps and returns what of `plan` fits; `store` may map rows from disk then.

    Raises:
        TlkitError: Not even the least of it fits.
    """
    cost = estimate.estimate(model, data, plan, store=store, seed=seed)
    lines = [str(cost)]
    plan, cost, changes = fit_budget(plan, cost, limits.minutes)
    lines += changes
    if limits.memory is not None:
        lines += fit_memory(cost, store, limits.memory * 1e9)
    return Fitted(plan, cost, tuple(lines))


def fit_budget(
    plan: Sequence[Phase], cost: Estimate, minutes: float | None
) -> tuple[tuple[Phase, ...], Estimate, list[str]]:
    """Returns a plan that should end in time, its cost, and in words what was changed.

    First fewer views, down to one, where views are still to be computed; then fewer epochs, in
    the same share for all phases.

    Args:
        cost: Of `plan`.
        minutes: For all of it; None changes nothing.

    Raises:
        TlkitError: Even one view and one epoch of each phase take longer.
    """
    plan = tuple(plan)
    if minutes is None or cost.seconds <= 60 * minutes:
        return plan, cost, []
    limit, lines = 60.0 * minutes, []
    costly = any(phase.views for phase in cost.phases)
    views = max((view_count(p) for p in plan), default=1) if costly else 1
    for fewer in range(views - 1, 0, -1):
        plan, cost = _fewer_views(plan, cost, fewer)
        lines = [f"{fewer} view{'s' if fewer > 1 else ''} in place of {views}"]
        if cost.seconds <= limit:
            break
    if cost.seconds > limit:
        plan, cost = _fewer_epochs(plan, cost, limit)
        told = ", ".join(f"{phase.name} {phase.epochs}" for phase in plan)
        lines.append(f"fewer epochs at most: {told}")
    return plan, cost, [f"To end in {minutes:g} minutes: {'; '.join(lines)}."]


def _fewer_views(plan, cost: Estimate, views: int) -> tuple[tuple[Phase, ...], Estimate]:
    """Returns plan and cost with no more than so many views, but for phases that draw them live.

    Phases that share the views of another pay nothing for them, yet must not be left with more.
    """
    cached = [bool(c.cache or c.views) for c in cost.phases]
    shares = [
        min(1.0, views / view_count(phase)) if kept else 1.0
        for phase, kept in zip(plan, cached, strict=True)
    ]
    phases = [
        dataclasses.replace(c, views=c.views * share, cache=int(c.cache * share))
        for c, share in zip(cost.phases, shares, strict=True)
    ]
    fewer = tuple(
        dataclasses.replace(p, views=min(p.views, views)) if kept else p
        for p, kept in zip(plan, cached, strict=True)
    )
    return fewer, dataclasses.replace(cost, phases=tuple(phases))


def _fewer_epochs(plan, cost: Estimate, limit: float) -> tuple[tuple[Phase, ...], Estimate]:
    """Returns plan and cost with the epochs that fit into `limit` seconds."""
    epochs = sum(phase.epoch * phase.epochs for phase in cost.phases)
    least = cost.seconds - epochs + sum(phase.epoch for phase in cost.phases)
    if least > limit:
        raise TlkitError(
            f"{limit / 60:g} minutes are too few: one view and one epoch of each phase take "
            f"{least / 60:.1f}. Give more time, or fewer pixels with --size."
        )
    share = (limit - cost.seconds + epochs) / max(epochs, 1e-9)
    counts = [max(1, int(phase.epochs * share)) for phase in plan]
    fewer = tuple(dataclasses.replace(p, epochs=n) for p, n in zip(plan, counts, strict=True))
    phases = [dataclasses.replace(c, epochs=n) for c, n in zip(cost.phases, counts, strict=True)]
    return fewer, dataclasses.replace(cost, phases=tuple(phases))


def fit_memory(cost: Estimate, store: Store, limit: float) -> list[str]:
    """Makes `store` map rows from disk where they would not fit into `limit` bytes.

    Raises:
        TlkitError: The process needs more than that without any row, or `store` has no disk.
    """
    spare = limit - (cost.memory - cost.held)
    if spare < 0:
        raise TlkitError(
            f"{limit / 1e9:.1f} GB are too little: the network alone takes about "
            f"{(limit - spare) / 1e9:.1f} GB. Take a smaller --size, --batch-size or backbone."
        )
    if cost.memory <= limit:
        return []
    if store.folder is None:
        raise TlkitError("A store without a folder cannot map rows from disk. Give it one.")
    # Pixels and every view are read by themselves, each up to the store's limit.
    store.memory = min(store.memory, int(spare / (cost.views + 1)))
    return [
        f"To stay within {limit / 1e9:.1f} GB, views of more than {store.memory / 1e6:,.0f} MB "
        "are mapped from disk."
    ]


def expected(cost: Estimate, epochs: Sequence[int]) -> float:
    """Returns the estimated seconds if the phases train so many epochs; left out are the last."""
    done = zip(cost.phases, epochs, strict=False)
    return cost.saving + sum(p.rows + p.start + p.epoch * count for p, count in done)
