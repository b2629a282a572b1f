"""`tlkit lr-find`: the learning-rate range test."""

import click

from tlkit.cli.options import data_options, given, load, model_options, model_recipe, quietly

OWN = ("photos", "steps", "out")  # what `finetune` is given otherwise, or not at all


@click.command("lr-find")
@click.argument("photos")
@model_options
@click.option("--unfreeze", metavar="STAGE", help="First stage that trains, `all`, or `none`.")
@click.option("--steps", default=100, show_default=True, help="Steps of the climb.")
@click.option("--out", default="lr_find.png", show_default=True, help="Where the curve is drawn.")
@data_options
@quietly
def lr_find(photos, unfreeze, steps, out, **options):
    """Find a learning rate for PHOTOS by trying all, small to large, on a copy of the model."""
    import dataclasses

    import tlkit
    from tlkit.workflows import recipes

    data = load(photos, options)
    model = recipes.classifier(model_recipe(options), data.class_names)
    plan = tlkit.default_phases(model)
    phase = plan[0] if unfreeze == "none" else plan[-1]  # as finetune reads the option
    if unfreeze and unfreeze != "none":
        phase = dataclasses.replace(phase, unfreeze=unfreeze)
    if phase.unfreeze and plan[0].unfreeze is None:
        train_head(model, data, plan[0], options["seed"])
    climb = tlkit.lr_find(model, data, phase, steps=steps, seed=options["seed"])
    click.echo(climb)
    click.echo(f"Curve: {climb.plot(out)}")
    if climb.suggestion is not None:
        click.echo(f"Next: {next_command(photos, climb.suggestion)}")


def train_head(model, data, phase, seed) -> None:
    """Trains the head as `finetune` would: with a new one, much higher rates seem to do good."""
    import tempfile

    import tlkit

    click.echo("The head is trained first, as it would be.")
    with tempfile.TemporaryDirectory() as folder:
        tlkit.fine_tune(model, data, [phase], out=f"{folder}/head", seed=seed)


def next_command(photos, rate) -> str:
    """Returns the `finetune` that trains what was tried: all options again, for it has them too."""
    import shlex

    values = click.get_current_context().params
    words = ["tlkit", "finetune", photos]
    for option in given():
        if option.name not in OWN:
            words += [option.opts[0], str(values[option.name])]
    return shlex.join([*words, "--rate", f"{rate:.2g}"])
