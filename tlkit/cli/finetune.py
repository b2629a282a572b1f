"""`tlkit finetune`: the main job."""

import ast
import dataclasses

import click

from tlkit.cli.options import (
    data_options,
    given,
    load,
    model_options,
    model_recipe,
    quietly,
    store,
)
from tlkit.errors import TlkitError, unknown

# Options that shape the default phases; without any of them, `fine_tune` decides what is trained.
SHAPING = (
    "unfreeze", "head_epochs", "epochs", "rate", "augment", "strength", "views", "batch_size",
)  # fmt: skip
# Options of the network, which a recipe always decides.
NETWORK = ("backbone", "weights", "size", "resize", "channels", "head", "replace_from")


@click.command()
@click.argument("photos", required=False)
@model_options
@click.option("--out", metavar="RUN", help="Run folder  [default: runs/PHOTOS-BACKBONE]")
@click.option("--resize", default="crop", show_default=True, help="crop, pad or squash.")
@click.option("--channels", default=3, show_default=True, help="1 (gray), 3, or 4 (with alpha).")
@click.option("--head", default="linear", show_default=True, help="linear, mlp or concat_pool.")
@click.option("--unfreeze", metavar="STAGE", help="First stage of phase two, `all`, or `none`.")
@click.option("--replace-from", metavar="STAGE", help="Give this and later stages new weights.")
@click.option("--head-epochs", type=int, help="Most epochs of the head phase.")
@click.option("--epochs", type=int, help="Most epochs of the last phase.")
@click.option("--rate", type=float, help="Learning rate of the last phase.")
@click.option("--augment", help="Augmentation policy, such as photos; see tlkit augment.")
@click.option("--strength", type=float, help="Of augmentation: 0 is nothing, 1 as stated.")
@click.option("--views", type=int, help="Distinct augmented views of each image.")
@click.option("--batch-size", type=int, help="Images per step.")
@click.option(
    "--set",
    "fields",
    multiple=True,
    metavar="[PHASE.]FIELD=VALUE",
    help="Any other field of a phase, such as optimizer=sgd or head.epochs=5; can be repeated.",
)
@click.option("--engine", default="constants", show_default=True, help="What runs the frozen part.")
@click.option("--plan", metavar="FILE", help="Follow a recipe file; it says model and phases.")
@click.option("--estimate", is_flag=True, help="Say what it would cost, and train nothing.")
@click.option("--max-minutes", type=float, help="End in this time, with what is best by then.")
@click.option("--max-memory", type=float, metavar="GB", help="Map features from disk above this.")
@click.option("--resume", metavar="RUN", help="Continue an interrupted run and ignore the rest.")
@data_options
@quietly
def finetune(photos, **options):
    """Fine-tune a pretrained backbone on PHOTOS and write a run folder."""
    import tlkit

    if options["resume"]:
        run = tlkit.resume(options["resume"])
    elif not photos and not options["plan"]:
        raise click.UsageError("Say which images to train on, or --plan FILE, or --resume RUN.")
    else:
        run = _train(photos, options)
    if run is None:
        return
    if run.require_data().test is not None and len(run.require_data().test):
        click.echo(f"\nTest images: {run.evaluate()}")
    click.echo(f"\nReport: {tlkit.report(run)}")
    click.echo(f"Next: tlkit export {run.folder} saved_models/{run.folder.name}")


def _train(photos, options):
    import tlkit
    from tlkit.phases import recipe_format
    from tlkit.planning import budget
    from tlkit.workflows import fine_tuning, recipes

    recipe = _followed(options["plan"]) if options["plan"] else _recipe(options)
    source = photos or recipe["source"]
    data = load(source, options, **recipe["data"])  # a recipe's seed is not that of its split
    model = recipes.classifier(recipe, data.class_names)
    kept = store(options)
    phases = recipe_format.phases_in(recipe) or _shaped(model, options)
    phases = fine_tuning.phases_for(model, data, phases, kept)
    phases = _changed(phases, options["fields"])
    limits = {name: options[name] for name in ("max_minutes", "max_memory")}
    seed = recipe["seed"]
    if options["estimate"]:
        limits_ = budget.Limits(*limits.values())
        fitted = budget.fit(model, data, phases, limits_, store=kept, seed=seed)
        click.echo("\n".join(fitted.lines))
        return None
    return tlkit.fine_tune(model, data, phases, **limits, out=options["out"], seed=seed, store=kept)


def _followed(plan):
    """Returns the recipe of a file, unless the command line says otherwise what it decides."""
    from tlkit.phases import recipe_format

    recipe = recipe_format.read(plan)
    decided = NETWORK if recipe["phases"] is None else NETWORK + SHAPING
    if ignored := [option.opts[0] for option in given() if option.name in decided]:
        raise click.UsageError(
            f"{plan} decides {', '.join(ignored)}: edit the recipe, or change the fields of its "
            "phases with --set."
        )
    return recipe


def _recipe(options):
    """Returns what the options say, as a recipe file would."""
    from tlkit.images.pixels import CHANNELS
    from tlkit.phases.recipe_format import KEYS

    if options["channels"] not in CHANNELS:
        raise TlkitError(f"Image files have 1, 3 or 4 channels, not {options['channels']}.")
    return {**KEYS, **model_recipe(options), "head": {"kind": options["head"]}}


def _shaped(model, options):
    """Returns the default phases as the options shape them, or None where none of them does."""
    import tlkit

    if all(options[name] is None for name in SHAPING):
        return None
    names = ("augment", "strength", "views", "batch_size")
    shared = {name: options[name] for name in names if options[name] is not None}
    phases = list(tlkit.default_phases(model, **shared))
    if options["unfreeze"] == "none":
        phases = phases[:1]
    elif options["unfreeze"]:
        phases[-1] = dataclasses.replace(phases[-1], unfreeze=options["unfreeze"])
    last = {name: options[name] for name in ("epochs", "rate") if options[name] is not None}
    phases[-1] = dataclasses.replace(phases[-1], **last)
    if options["head_epochs"] is not None:
        phases[0] = dataclasses.replace(phases[0], epochs=options["head_epochs"])
    return tuple(phases)


def _changed(phases, fields):
    """Returns the phases with every `[PHASE.]FIELD=VALUE` that is meant for them."""
    names = {phase.name for phase in phases}
    for text in fields:
        whose, point, _ = text.partition("=")[0].rpartition(".")
        if point and whose not in names:
            raise unknown("phase", whose, names)
    return tuple(_with(phase, fields) for phase in phases)


def _with(phase, fields):
    """Returns the phase with every `[PHASE.]FIELD=VALUE` that is meant for it."""
    known, changes = {field.name for field in dataclasses.fields(phase)}, {}
    for text in fields:
        name, equals, value = text.partition("=")
        whose, _, field = name.rpartition(".")
        if not equals:
            raise TlkitError(f"--set {text}: write it as FIELD=VALUE.")
        if field not in known:
            raise unknown("field of a phase", field, known)
        if whose in ("", phase.name):
            changes[field] = _value(value)
    return dataclasses.replace(phase, **changes)  # at once: options fit their schedule only


def _value(text: str):
    """Reads a number or a dict; anything else is the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
