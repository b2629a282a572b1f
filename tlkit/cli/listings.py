"""`tlkit backbones` and `tlkit nets`: what there is."""

import json

import click

from tlkit.cli.options import JSON, quietly


@click.command()
@JSON
def backbones(as_json):
    """List the pretrained backbones with their stages."""
    from tlkit.backbones.table import describe

    rows = describe()
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        stages = " ".join(row["stages"])
        click.echo(
            f"{row['name']:22s} {row['parameters']:>12,d}  {row['size']:3d} px  "
            f"{row['preprocessing']:6s} {stages}"
        )


@click.command()
@click.argument("name", required=False)
@JSON
@quietly
def nets(name, as_json):
    """List the architectures built from scratch, or print the layer table of NAME."""
    from tlkit import nets as builders

    rows = builders.layer_table(name) if name else builders.table()
    if as_json:
        click.echo(json.dumps(rows))
        return
    from tlkit.text import text_table

    click.echo(text_table(rows))
