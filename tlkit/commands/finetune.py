"""`tlkit finetune`: the main job."""

import dataclasses

import click

from tlkit.commands.options import data_options, load, quietly


@click.command()
@click.argument("photos", required=False)
@click.option("--backbone", default="mobilenet_v2", show_default=True, help="See tlkit backbones.")
@click.option("--out", metavar="RUN", help="Run folder  [default: runs/PHOTOS-BACKBONE]")
@click.option(
    "--weights", default="imagenet", show_default=True, help="imagenet, a weights file, or none."
)
@click.option("--size", type=int, help="Pixels along a side  [default: the backbone's own]")
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
@click.option("--engine", default="constants", show_default=True, help="What runs the frozen part.")
@click.option("--resume", metavar="RUN", help="Continue an interrupted run and ignore the rest.")
@data_options
@quietly
def finetune(photos, **options):
    """Fine-tune a pretrained backbone on PHOTOS and write a run folder."""
    from tlkit.finetune import resume

    if options["resume"]:
        run = resume(options["resume"])
    elif not photos:
        raise click.UsageError("Say which images to train on, or --resume RUN.")
    else:
        run = _train(photos, options)
    if run.require_data().test is not None and len(run.require_data().test):
        click.echo(f"\nTest images: {run.evaluate()}")
    click.echo(f"\nReport: {run.report()}")
    click.echo(f"Next: tlkit export {run.folder} saved_models/{run.folder.name}")


def _train(photos, options):
    from tlkit.model import Classifier, default_size
    from tlkit.pixels import PixelRule
    from tlkit.store import Store

    weights = options["weights"]
    data = load(photos, options)
    size = options["size"] or default_size(options["backbone"])
    model = Classifier(
        options["backbone"],
        data.class_names,
        weights=None if weights == "none" else weights,
        size=PixelRule(size, options["resize"], options["channels"]),
        head=options["head"],
        replace_from=options["replace_from"],
        seed=options["seed"],
    )
    store = Store.default(options["engine"])
    plan = _plan(model, options)
    return model.fine_tune(data, plan, out=options["out"], seed=options["seed"], store=store)


def _plan(model, options):
    """The default phases with what the options change."""

    from tlkit.finetune import default_phases

    names = ("augment", "strength", "views", "batch_size")
    shared = {name: options[name] for name in names if options[name] is not None}
    phases = list(default_phases(model, **shared))
    if options["unfreeze"] == "none":
        phases = phases[:1]
    elif options["unfreeze"]:
        phases[-1] = dataclasses.replace(phases[-1], unfreeze=options["unfreeze"])
    last = {"epochs": options["epochs"], "rate": options["rate"]}
    phases[-1] = dataclasses.replace(phases[-1], **{k: v for k, v in last.items() if v})
    if options["head_epochs"]:
        phases[0] = dataclasses.replace(phases[0], epochs=options["head_epochs"])
    return phases
