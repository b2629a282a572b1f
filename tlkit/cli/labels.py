"""`tlkit labels`: which labels to doubt, and what more images would bring."""

from pathlib import Path

import click

from tlkit.cli.options import data_options, load, model_options, model_recipe, quietly


@click.command()
@click.argument("photos")
@model_options
@click.option(
    "--rate", default=0.01, show_default=True, help="Share of right labels that may be listed."
)
@click.option("--with-test", is_flag=True, help="Judge the labels of the test images too.")
@click.option("--accept", metavar="CSV", help="Write labels.csv with the accepted rows of CSV.")
@click.option("--out", metavar="DIR", help="Folder for all it writes  [default: labels-PHOTOS]")
@data_options
@quietly
def labels(photos, rate, with_test, accept, out, **options):
    """List the doubtful labels of PHOTOS on a page and in a CSV; nothing is changed."""
    import tlkit
    from tlkit.labels import worklist
    from tlkit.workflows import recipes

    data = load(photos, options)
    folder = Path(out or f"labels-{Path(photos).stem}")
    if accept:
        count = worklist.accepted(accept, data, folder / "labels.csv")
        click.echo(f"{folder / 'labels.csv'}: {count} labels changed. Your files are as they were.")
        return
    model = recipes.classifier(model_recipe(options), data.class_names)
    check = tlkit.check_labels(model, data, with_test=with_test, rate=rate, seed=options["seed"])
    page = tlkit.report(check, folder)
    click.echo(check.summary())
    click.echo(f"Page: {page}\nList: {folder / 'worklist.csv'}")
