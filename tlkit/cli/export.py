"""`tlkit export` and `tlkit predict`: out of the workshop."""

import json
from pathlib import Path

import click

from tlkit.cli.options import JSON, quietly
from tlkit.errors import TlkitError


@click.command()
@click.argument("run")
@click.argument("folder")
@quietly
def export(run, folder):
    """Export RUN to FOLDER as a SavedModel and prove that it answers the same."""
    from tlkit.models.classifier import Classifier

    path = Classifier.load(run).export(folder)
    facts = json.loads((Path(path) / "assets.extra/tlkit.json").read_text())["parity"]
    click.echo(
        f"Wrote {path}: a fresh process agrees on {facts['images']} images, largest difference "
        f"{facts['largest_difference']:.1g}."
    )


@click.command()
@click.argument("model")
@click.argument("images", nargs=-1, required=True)
@click.option("--top", default=3, show_default=True, help="Labels to show for each image.")
@JSON
@quietly
def predict(model, images, top, as_json):
    """Label IMAGES with the exported SavedModel MODEL."""
    from tlkit.serving.saved_model import predict as answer

    found, errors = answer(model, images, top)
    if as_json:
        click.echo(json.dumps([prediction.as_dict() for prediction in found]))
    else:
        for one in found:
            ranked = ", ".join(f"{label} {p:.3f}" for label, p in one.top)
            click.echo(f"{one.file}: {ranked}")
    if errors:
        raise TlkitError(" ".join(errors))
