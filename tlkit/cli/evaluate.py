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
    import tlkit

    evaluation = tlkit.evaluate(run, photos)
    click.echo(json.dumps([evaluation.values]) if as_json else str(evaluation))


@click.command()
@click.argument("run")
@quietly
def report(run):
    """Write RUN/report.html, one self-contained page."""
    import tlkit

    click.echo(tlkit.report(run))
