"""`tlkit lr-find`: the learning-rate range test."""

import click

from tlkit.commands.options import data_options, load, quietly


@click.command("lr-find")
@click.argument("photos")
@click.option("--backbone", default="mobilenet_v2", show_default=True, help="See tlkit backbones.")
@click.option(
    "--weights", default="imagenet", show_default=True, help="imagenet, a weights file, or none."
)
@click.option("--size", type=int, help="Pixels along a side  [default: the backbone's own]")
@click.option("--unfreeze", metavar="STAGE", help="First stage that trains, `all`, or `none`.")
@click.option("--steps", default=100, show_default=True, help="Steps of the climb.")
@click.option("--out", default="lr_find.png", show_default=True, help="Where the curve is drawn.")
@data_options
@quietly
def lr_find(photos, backbone, weights, size, unfreeze, steps, out, **options):
    """Find a learning rate for PHOTOS by trying all, small to large, on a copy of the model."""
    import dataclasses

    from tlkit import recipe_files
    from tlkit.finetune import default_phases
    from tlkit.range_test import lr_find as climb

    data = load(photos, options)
    weights = None if weights == "none" else weights
    recipe = {"backbone": backbone, "weights": weights, "size": size, "seed": options["seed"]}
    model = recipe_files.classifier(recipe, data.class_names)
    phase = default_phases(model)[-1]
    if unfreeze:
        phase = dataclasses.replace(phase, unfreeze=None if unfreeze == "none" else unfreeze)
    found = climb(model, data, phase, steps=steps, seed=options["seed"])
    click.echo(found)
    click.echo(f"Curve: {found.plot(out)}")
    if found.suggestion is not None:
        click.echo(f"Next: tlkit finetune {photos} --rate {found.suggestion:.1g}")
