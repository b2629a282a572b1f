"""What an epoch is made of: which rows go together, at which rate, in which order."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tlkit.phases import sampling
from tlkit.phases.phase import Phase, rate_at


@dataclasses.dataclass(frozen=True)
class Batch:
    """Which rows a batch has, and its place in an update.

    Attributes:
        part: Positions of the rows.
        rate: Learning rate of the update.
        share: Part of the update's images that the batch holds.
        last: Whether the update is made with it.
    """

    part: np.ndarray
    rate: float
    share: float
    last: bool


def plan(
    labels: np.ndarray, phase: Phase, seed: tuple[int, ...], past: Sequence[float]
) -> list[Batch]:
    """Returns the batches of one epoch in order.

    Args:
        seed: All that the order depends on; the last number is the epoch.
        past: Validation losses of the phase's finished epochs, for schedules that look back.
    """
    size, every, epoch = phase.batch_size, phase.accumulate, seed[-1]
    order = sampling.order(labels, phase.sampling, seed)
    parts = [order[i : i + size] for i in range(0, len(order), size)]
    updates = [parts[i : i + every] for i in range(0, len(parts), every)]
    found = []
    for number, group in enumerate(updates, epoch * len(updates)):
        rate = rate_at(phase, number, phase.epochs * len(updates), past)
        images = sum(map(len, group))
        found += [Batch(part, rate, len(part) / images, part is group[-1]) for part in group]
    return found


def together(batches: Sequence[Batch], most: int) -> list[list[Batch]]:
    """Returns the batches in order, up to `most` of the same size in each group."""
    groups: list[list[Batch]] = []
    for batch in batches:
        group = groups[-1] if groups else []
        if group and len(group) < most and len(group[0].part) == len(batch.part):
            group.append(batch)
        else:
            groups.append([batch])
    return groups


def ahead(function: Callable, items: Sequence) -> Iterator:
    """Yields function(item) for each item in order, computing one item ahead in a thread."""
    with ThreadPoolExecutor(1) as pool:
        waiting = None
        for item in items:
            started = pool.submit(function, item)
            if waiting is not None:
                yield waiting.result()
            waiting = started
        if waiting is not None:
            yield waiting.result()
