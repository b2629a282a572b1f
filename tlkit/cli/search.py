"""`tlkit search`: look for better settings than the default, within a time."""

import sys
import time
from typing import Any

import click

from tlkit.cli.options import data_options, load, model_options, model_recipe, quietly, store


@click.command()
@click.argument("photos")
@click.option(
    "--minutes", default=20.0, show_default=True, help="Wall time for all of it; 0: no end."
)
@click.option("--trials", type=int, help="Most trials  [default: as many as the time allows]")
@click.option("--space", metavar="FILE", help="TOML or JSON; its rows replace the default ones.")
@click.option(
    "--algorithm", default="bayesian", show_default=True,
    help="random, bayesian, hyperband or grid.",
)  # fmt: skip
@model_options
@click.option("--out", metavar="DIR", help="Folder of studies  [default: searches/PHOTOS-BACKBONE]")
@click.option("--resize", default="crop", show_default=True, help="crop, pad or squash.")
@click.option("--images", default=1000, show_default=True, help="Training images of a trial.")
@click.option("--finalists", default=3, show_default=True, help="Best trials that are confirmed.")
@click.option("--repeats", default=3, show_default=True, help="Most seeds of each finalist.")
@click.option("--memory", type=float, help="Most megabytes of a trial  [default: 80 % of the free]")
@click.option("--engine", default="constants", show_default=True, help="What runs the frozen part.")
@data_options
@quietly
def search(photos, **options):
    """Search for better settings on PHOTOS; the default ones are always the first trial.

    An interrupted search goes on where it stopped when the same command is given again.
    """
    import tlkit
    from tlkit.workflows import recipes

    data = load(photos, options)
    origin = model_recipe(options)
    model = recipes.classifier(origin, data.class_names)
    names = ("trials", "space", "algorithm", "seed", "out", "images", "finalists", "repeats",
             "memory")  # fmt: skip
    chosen = {name: options[name] for name in names}
    minutes = options["minutes"] or None
    with Table(minutes) as table:
        result = tlkit.search(
            model, data, table.watch, minutes=minutes, origin=origin,
            store=store(options), **chosen,
        )  # fmt: skip
    _tell(result)


def _tell(result) -> None:
    from tlkit.evaluation.metrics import Evaluation

    if not result.finalists:
        click.echo(f"Done: the chief goes on with the trials in {result.folder}.")
        return
    click.echo(f"\n{result.verdict[0].upper()}{result.verdict[1:]}.")
    for comparison in result.comparisons:
        if comparison["verdict"] != result.verdict:
            click.echo(f"  {comparison['verdict']}")
    if result.test:
        click.echo(f"\nTest images, seen by the winner alone: {Evaluation(result.test)}")
    click.echo(f"\nReport: {result.folder / 'report.html'}")
    click.echo(f"Recipe: {result.recipe}")
    click.echo(f"Next: tlkit export {result.folder / 'best'} saved_models/{result.folder.name}")


class Table:
    """The live table of a search on a terminal; elsewhere one line for each trial."""

    def __init__(self, minutes: float | None):
        self.end = time.time() + 60 * minutes if minutes else None
        self.rows: list[Any] = []
        self.best: Any = None
        self.now = "reading images"
        self.live: Any = None

    def __enter__(self) -> "Table":
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self.live = Live(
                get_renderable=self.render, console=Console(stderr=True), refresh_per_second=2
            )
            self.live.start()
        return self

    def __exit__(self, *_):
        if self.live is not None:
            self.live.stop()

    def watch(self, event: dict[str, Any]) -> None:
        """Takes one event of the search."""
        kind, trial = event["event"], event.get("trial")
        if kind == "trial":
            self._add(event["result"])
        elif kind == "start":
            self.now = f"trial {trial}"
        elif kind == "finalist":
            self.now = f"trial {trial} again on all images, seed {event['seed']}"
            self._line(self.now)
        elif kind == "halved":
            self._line(f"trial {trial}: out of memory, again with batches of {event['batch_size']}")
        elif kind == "epoch":
            head = self.now.partition(":")[0]
            self.now = f"{head}: epoch {event['epoch']}, validation loss {event['val_loss']:.3f}"

    def _add(self, trial) -> None:
        self.rows.append(trial)
        if trial.score is not None and (self.best is None or trial.score < self.best.score):
            self.best = trial
        score = f"loss {trial.loss:.4f}, accuracy {trial.accuracy:.3f}" if trial.loss else ""
        best = f"best {self.best.loss:.4f} (trial {self.best.number})" if self.best else ""
        self._line(f"trial {trial.number:3d} {trial.status:<6} {score}  {best}{self._left()}")

    def _line(self, text: str) -> None:
        if self.live is None:
            click.echo(text, err=True)

    def _left(self) -> str:
        if self.end is None:
            return ""
        left = max(int(self.end - time.time()), 0)
        return f"  {left // 60}:{left % 60:02d} left"

    def render(self):
        """Returns the table as it stands: the last trials, the best, the time left."""
        from rich.table import Table as Grid

        from tlkit.text import short

        best = f"best {self.best.loss:.4f}, trial {self.best.number}" if self.best else ""
        table = Grid(title=f"{self.now}   {best}{self._left()}", title_justify="left")
        for name in ("trial", "status", "loss", "accuracy", "seconds", "settings"):
            table.add_column(name, overflow="fold")
        for trial in self.rows[-12:]:
            settings = ", ".join(f"{name} {short(v)}" for name, v in trial.settings.items())
            numbers = (trial.loss, trial.accuracy, trial.seconds)
            style = "bold green" if trial is self.best else "" if trial.score else "dim"
            cells = (str(trial.number), trial.status, *map(short, numbers), settings)
            table.add_row(*cells, style=style)
        return table
