"""`tlkit advise`: measured advice before training."""

import json

import click

from tlkit.cli.options import JSON, data_options, load, quietly
from tlkit.errors import TlkitError


@click.command()
@click.argument("photos")
@click.option(
    "--backbones", default="mobilenet_v2", show_default=True, help="Names, parted by commas."
)
@click.option(
    "--weights", multiple=True, metavar="NAME=FILE", help="Weights of one backbone; `none` random."
)
@click.option("--size", type=int, help="Pixels along a side  [default: each backbone's own]")
@click.option(
    "--minutes", default=10.0, show_default=True, help="Begin no further backbone after this."
)
@click.option("--augment", help="Policy to use instead of the one suggested.")
@click.option("--out", metavar="DIR", help="Write advised.py, advice.html and advice.json there.")
@JSON
@data_options
@quietly
def advise(photos, **options):
    """Measure which backbone and which plan suit PHOTOS; nothing is trained."""
    import tlkit

    advice = tlkit.advise(
        load(photos, options),
        [name.strip() for name in options["backbones"].split(",") if name.strip()],
        weights=dict(_pair(text) for text in options["weights"]),
        size=options["size"],
        minutes=options["minutes"],
        policy=options["augment"],
    )
    click.echo(json.dumps([advice.numbers()]) if options["as_json"] else str(advice))
    if options["out"]:
        from tlkit.advice.page import RECIPE

        page = tlkit.report(advice, options["out"])
        click.echo(f"\nPage: {page}", err=options["as_json"])
        recipe = page.with_name(RECIPE)
        click.echo(f"Next: tlkit finetune --plan {recipe}", err=options["as_json"])


def _pair(text: str) -> tuple[str, str | None]:
    name, sign, file = text.partition("=")
    if not sign or not file:
        raise TlkitError(f"--weights takes NAME=FILE, such as mobilenet_v2=w.h5, not {text!r}.")
    return name, None if file == "none" else file
