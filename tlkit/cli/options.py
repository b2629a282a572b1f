"""What several commands share: a quiet start, and the options that say how images are read."""

import functools
import os
from typing import Any

import click
from click.core import ParameterSource

JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")


def quietly(command):
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


def given() -> list[click.Parameter]:
    """Returns the parameters of the running command that stand on its line."""
    context = click.get_current_context()
    source = context.get_parameter_source
    return [
        one for one in context.command.params if source(one.name) is ParameterSource.COMMANDLINE
    ]


def model_options(command):
    """The options that say which network; `model_recipe` turns them into settings."""
    options = (
        click.option(
            "--backbone", default="mobilenet_v2", show_default=True,
            help="A name of tlkit backbones, or a run folder.",
        ),
        click.option(
            "--weights", default="imagenet", show_default=True,
            help="imagenet, a weights file, or none.",
        ),
        click.option("--size", type=int, help="Pixels along a side  [default: the backbone's own]"),
    )  # fmt: skip
    return _with(options, command)


def model_recipe(options: dict[str, Any]) -> dict[str, Any]:
    """Returns what the options say of the model, in the words of a recipe file."""
    names = ("backbone", "size", "resize", "channels", "replace_from", "seed")
    weights = None if options["weights"] == "none" else options["weights"]
    if weights not in (None, "imagenet") and os.path.exists(weights):
        weights = os.path.abspath(weights)  # the recipe may be run from elsewhere
    return {"weights": weights, **{name: options[name] for name in names if name in options}}


def data_options(command):
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
    return _with(options, command)


def _with(options, command):
    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(options), command)


def load(photos: str, options: dict[str, Any], **others: Any):
    """Reads the images as the options say; `others` are further arguments, or take their place."""
    from tlkit.images.dataset import load_images

    names = ("test", "val_share", "test_share", "max_bad", "data_dir", "seed")
    return load_images(photos, **{**{name: options[name] for name in names}, **others})


def store(options: dict[str, Any]):
    """Returns tlkit's store for the engine of the options."""
    from tlkit.features import engines
    from tlkit.features.store import Store

    engines.candidates(options["engine"])  # an unknown one is an error now, not in an hour
    return Store.default(options["engine"])
