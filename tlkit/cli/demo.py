"""`tlkit demo`: the main job on embedded data, offline."""

from pathlib import Path

import click

from tlkit.cli.options import quietly


@click.command()
@click.option("--out", default="runs/demo", show_default=True, help="Folder for all it writes.")
@click.option("--quick", is_flag=True, help="A smoke test: fewer epochs, worse numbers.")
@quietly
def demo(out, quick):
    """Transfer handwritten digits 0-4 to 5-9 from a few examples; offline, under two minutes."""
    from tlkit.workflows.demo import run_demo

    run_demo(Path(out), quick)
