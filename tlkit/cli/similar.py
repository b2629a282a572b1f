"""`tlkit similar`: what looks like this picture."""

import dataclasses
import json

import click

from tlkit.cli.options import JSON, model_options, model_recipe, quietly


@click.command()
@click.argument("query")
@click.argument("photos")
@model_options
@click.option("--top", default=5, show_default=True, help="Images to show.")
@click.option("--out", metavar="PNG", help="Write a contact sheet of them.")
@JSON
@quietly
def similar(query, photos, top, out, as_json, **options):
    """Show which images of PHOTOS look most like the image QUERY."""
    import tlkit
    from tlkit.images.subset import gather
    from tlkit.workflows import recipes

    images = gather(photos)
    unused = ("some", "other")  # a head, which the folder of pictures need not have classes for
    model = recipes.classifier(model_recipe(options), unused)
    (found,) = tlkit.similar(model, images, query, top)
    if out:
        _sheet(out, query, images, found)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(one) for one in found]))
        return
    for one in found:
        click.echo(f"{one.similarity:.4f}  {one.label}  {one.file}")
    if out:
        click.echo(f"Sheet: {out}")


def _sheet(out, query, images, found):
    from pathlib import Path

    from tlkit.images.pictures import picture, rows_of
    from tlkit.pages import sheets

    asked = picture(Path(query).read_bytes(), sheets.SIDE)
    pictures = rows_of(images.table, [one.row for one in found], sheets.SIDE)
    texts = [f"{one.label} {one.similarity:.3f}\n{Path(one.file).name}" for one in found]
    tiles = [(asked, f"query\n{Path(query).name}"), *zip(pictures, texts, strict=True)]
    sheets.write(out, [tiles])
