"""`tlkit export` and `tlkit predict`: out of the workshop."""

import json

import click

from tlkit.cli.options import JSON, quietly
from tlkit.errors import TlkitError


@click.command()
@click.argument("run")
@click.argument("folder")
@quietly
def export(run, folder):
    """Export RUN to FOLDER as a SavedModel and prove that it answers the same."""
    import tlkit
    from tlkit.serving import saved_model

    path = tlkit.export(run, folder)
    parity = saved_model.facts(path)["parity"]
    click.echo(
        f"Wrote {path}: a fresh process agrees on {parity['images']} images, largest difference "
        f"{parity['largest_difference']:.1g}."
    )


@click.command()
@click.argument("model")
@click.argument("images", nargs=-1, required=True)
@click.option("--top", default=3, show_default=True, help="Labels to show for each image.")
@JSON
@quietly
def predict(model, images, top, as_json):
    """Label IMAGES with the exported SavedModel MODEL."""
    import tlkit

    predictions, errors = tlkit.predict(model, images, top)
    if as_json:
        click.echo(json.dumps([prediction.as_dict() for prediction in predictions]))
    else:
        for prediction in predictions:
            ranked = ", ".join(f"{label} {p:.3f}" for label, p in prediction.top)
            click.echo(f"{prediction.file}: {ranked}")
    if errors:
        raise TlkitError(" ".join(errors))
