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
    loaded = None if weights == "none" else weights
    recipe = {"backbone": backbone, "weights": loaded, "size": size, "seed": options["seed"]}
    model = recipe_files.classifier(recipe, data.class_names)
    plan = default_phases(model)
    phase = plan[0] if unfreeze == "none" else plan[-1]  # as finetune reads the option
    if unfreeze and unfreeze != "none":
        phase = dataclasses.replace(phase, unfreeze=unfreeze)
    found = climb(model, data, phase, steps=steps, seed=options["seed"])
    click.echo(found)
    click.echo(f"Curve: {found.plot(out)}")
    if found.suggestion is not None:
        chosen = {"backbone": backbone, "weights": weights, "size": size, "unfreeze": unfreeze}
        click.echo(f"Next: {_command(photos, chosen, found.suggestion)}")


def _command(photos, chosen, rate) -> str:
    """Returns the `finetune` that trains what was tried: another model has another rate."""
    import shlex

    words = ["tlkit", "finetune", photos]
    for name, value in chosen.items():
        words += [f"--{name}", str(value)] if value is not None else []
    return shlex.join([*words, "--rate", f"{rate:.2g}"])
