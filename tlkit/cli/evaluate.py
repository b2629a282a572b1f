"""`tlkit evaluate` and `tlkit report`: what a run is worth."""

import json

import click

from tlkit.cli.options import JSON, quietly


@click.command()
@click.argument("run")
@click.argument("photos", required=False)
@JSON
@quietly
def evaluate(run, photos, as_json):
    """Evaluate RUN on the labelled images PHOTOS, or on its own test split."""
    from tlkit.images.dataset import read_images
    from tlkit.training.run import Run

    opened = Run.open(run)
    images = read_images(photos, opened.model.class_names) if photos else None
    result = opened.evaluate(images, name=str(photos or ""))
    click.echo(json.dumps([result.values]) if as_json else str(result))


@click.command()
@click.argument("run")
@quietly
def report(run):
    """Write RUN/report.html, one self-contained page."""
    from tlkit.training.run import Run

    click.echo(Run.open(run).report())
