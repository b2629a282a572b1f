"""`tlkit check`: every image looked at before any is used."""

import click

from tlkit.cli.options import data_options, load


@click.command()
@click.argument("photos")
@data_options
def check(photos, **options):
    """Check every image of PHOTOS (a folder, a CSV file or a TFDS name) and show the split."""
    from tlkit import progress

    with progress.silenced():
        data = load(photos, options)
    click.echo(data.summary())
    if data.quarantine:
        data.write_quarantine("quarantine.csv")
        click.echo("The unreadable files are listed in quarantine.csv.")
