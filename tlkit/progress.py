"""Progress with rates and time left: a live bar on a terminal, quiet elsewhere."""

import contextlib
import contextvars
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
_HUSHED = contextvars.ContextVar("silenced", default=False)


def say(message: str) -> None:
    """Prints one line about what tlkit is doing to standard error."""
    if not _HUSHED.get():
        print(message, file=sys.stderr, flush=True)


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Silences `say` inside the block, for a caller that prints the whole story itself."""
    token = _HUSHED.set(True)
    try:
        yield
    finally:
        _HUSHED.reset(token)


def track(
    items: Iterable[T], description: str, total: int | None = None, unit: int = 1
) -> Iterator[T]:
    """Yields `items` while showing rate and time left.

    Args:
        total: Number of steps; `len(items)` where it has one.
        unit: What one step counts for in the rate, such as the images of a batch.
    """
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    total = len(items) if total is None else total  # type: ignore[arg-type]
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=total * unit, rate="")
        for item in items:
            yield item
            speed = bar.tasks[task].speed
            bar.update(task, advance=unit, rate=f"{speed:,.0f}/s" if speed else "")
