"""The command line: parse, call, print. Anything heavy is imported inside a command."""

import functools
import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from tlkit import __version__
from tlkit.errors import TlkitError, unknown

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def _quietly(command):
    """Starts TensorFlow before the command with its own chatter kept off standard error.

    It writes some lines past every setting, straight to the file descriptor, and would bury the
    one line that a user is meant to read.
    """

    @functools.wraps(command)
    def started(*arguments, **options):
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        try:
            import tensorflow as tf

            tf.constant(0)
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)
        return command(*arguments, **options)

    return started


class _Commands(click.Group):
    """Suggests a command for a misspelt one and turns user errors into one line and exit code 2."""

    def resolve_command(self, ctx, args):
        if args and self.get_command(ctx, args[0]) is None:
            raise click.UsageError(str(unknown("command", args[0], self.list_commands(ctx))), ctx)
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx):
        return list(self.commands)  # in the order of the work, not of the alphabet

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except TlkitError as error:
            click.echo(f"tlkit: {error}", err=True)
            sys.exit(2)
        except KeyboardInterrupt:
            click.echo("tlkit: interrupted; finished epochs are kept, see --resume", err=True)
            sys.exit(130)


_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tlkit")
def main():
    """Transfer learning for image folders: check, fine-tune, judge, export, predict.

    \b
    tlkit check photos/
    tlkit finetune photos/ --backbone mobilenet_v2 --out runs/photos
    tlkit export runs/photos saved_models/photos
    tlkit predict saved_models/photos a.jpg b.png
    """


def _data_options(command):
    """The options that say how images are read; the same for check and finetune."""
    options = (
        click.option("--test", metavar="DIR", help="Separate folder of test images."),
        click.option(
            "--val-share", default=0.15, show_default=True, help="Share split off as val."
        ),
        click.option("--test-share", default=0.15, show_default=True, help="Share kept for test."),
        click.option(
            "--max-bad", default=0.05, show_default=True, help="Share of bad files borne."
        ),
        click.option("--data-dir", metavar="DIR", help="Where TensorFlow Datasets are kept."),
        click.option("--seed", default=0, show_default=True, help="Fixes the split and all draws."),
    )
    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(options), command)


def _load(photos: str, options: dict[str, Any]):
    from tlkit.data import load_images

    names = ("test", "val_share", "test_share", "max_bad", "data_dir", "seed")
    return load_images(photos, **{name: options[name] for name in names})


@main.command()
@click.argument("photos")
@_data_options
def check(photos, **options):
    """Check every image of PHOTOS (a folder, a CSV file or a TFDS name) and show the split."""
    from tlkit import progress

    with progress.hushed():
        data = _load(photos, options)
    click.echo(data.summary())
    if data.quarantine:
        data.write_quarantine("quarantine.csv")
        click.echo("The unreadable files are listed in quarantine.csv.")


@main.command()
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
@click.option("--augment", help="Augmentation policy: photos, flip, textures, digits or none.")
@click.option("--views", type=int, help="Distinct augmented views of each image.")
@click.option("--batch-size", type=int, help="Images per step.")
@click.option("--engine", default="constants", show_default=True, help="What runs the frozen part.")
@click.option("--resume", metavar="RUN", help="Continue an interrupted run and ignore the rest.")
@_data_options
@_quietly
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
    data = _load(photos, options)
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
    import dataclasses

    from tlkit.finetune import default_phases

    shared = {name: options[name] for name in ("augment", "views", "batch_size") if options[name]}
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


@main.command()
@click.argument("run")
@click.argument("photos", required=False)
@_JSON
@_quietly
def evaluate(run, photos, as_json):
    """Evaluate RUN on the labelled images PHOTOS, or on its own test split."""
    from tlkit.data import read_images
    from tlkit.run import Run

    opened = Run.open(run)
    images = read_images(photos, opened.model.class_names) if photos else None
    result = opened.evaluate(images, name=str(photos or ""))
    click.echo(json.dumps([result.values]) if as_json else str(result))


@main.command()
@click.argument("run")
@_quietly
def report(run):
    """Write RUN/report.html, one self-contained page."""
    from tlkit.run import Run

    click.echo(Run.open(run).report())


@main.command()
@click.argument("run")
@click.argument("folder")
@_quietly
def export(run, folder):
    """Export RUN to FOLDER as a SavedModel and prove that it answers the same."""
    from tlkit.model import Classifier

    path = Classifier.load(run).export(folder)
    facts = json.loads((Path(path) / "assets.extra/tlkit.json").read_text())["parity"]
    click.echo(
        f"Wrote {path}: a fresh process agrees on {facts['images']} images, largest difference "
        f"{facts['largest_difference']:.1g}."
    )


@main.command()
@click.argument("model")
@click.argument("images", nargs=-1, required=True)
@click.option("--top", default=3, show_default=True, help="Labels to show for each image.")
@_JSON
@_quietly
def predict(model, images, top, as_json):
    """Label IMAGES with the exported SavedModel MODEL."""
    from tlkit.serving import predict as answer

    found, errors = answer(model, images, top)
    if as_json:
        click.echo(json.dumps([prediction.as_dict() for prediction in found]))
    else:
        for one in found:
            ranked = ", ".join(f"{label} {p:.3f}" for label, p in one.top)
            click.echo(f"{one.file}: {ranked}")
    if errors:
        raise TlkitError(" ".join(errors))


@main.command()
@_JSON
def backbones(as_json):
    """List the pretrained backbones with their stages."""
    from tlkit.backbones import describe

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


@main.command()
@click.argument("name", required=False)
@_JSON
@_quietly
def nets(name, as_json):
    """List the architectures built from scratch, or print the layer table of NAME."""
    from tlkit import nets as builders

    rows = builders.layer_table(name) if name else builders.table()
    if as_json:
        click.echo(json.dumps(rows))
        return
    from tlkit.listing import text_table

    click.echo(text_table(rows))


@main.command()
@click.option("--out", default="runs/demo", show_default=True, help="Folder for all it writes.")
@click.option("--quick", is_flag=True, help="A smoke test: fewer epochs, worse numbers.")
@_quietly
def demo(out, quick):
    """Transfer handwritten digits 0-4 to 5-9 from a few examples; offline, under two minutes."""
    from tlkit.demo import run_demo

    run_demo(Path(out), quick)


if __name__ == "__main__":
    main()
