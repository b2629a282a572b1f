"""What several commands share: a quiet start, and the options that say how images are read."""

import functools
import os
from typing import Any

import click

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
    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(options), command)


def load(photos: str, options: dict[str, Any]):
    from tlkit.data import load_images

    names = ("test", "val_share", "test_share", "max_bad", "data_dir", "seed")
    return load_images(photos, **{name: options[name] for name in names})
