"""The command line: a group that finds its commands in this room, one file for each or for two.

Commands are thin: options become values, the public function of the same name does the work, and
its result is printed. `options` holds what several commands share. Start with `finetune`.
"""

import gc
import importlib
import os
import sys

import click

from tlkit import __version__
from tlkit.errors import TlkitError, unknown

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# In the order of the work. Adding a command is its module and a name here.
COMMANDS = {
    "check": "check",
    "labels": "labels",
    "augment": "augment",
    "advise": "advise",
    "lr-find": "lr_find",
    "finetune": "finetune",
    "search": "search",
    "evaluate": "evaluate",
    "report": "evaluate",
    "export": "export",
    "predict": "export",
    "similar": "similar",
    "backbones": "listings",
    "nets": "listings",
    "demo": "demo",
}


class _Commands(click.Group):
    """Suggests a command for a misspelt one and turns user errors into one line and exit code 2."""

    def resolve_command(self, ctx, args):
        if args and self.get_command(ctx, args[0]) is None:
            raise click.UsageError(str(unknown("command", args[0], self.list_commands(ctx))), ctx)
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx):
        return list(COMMANDS)

    def get_command(self, ctx, name):
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"tlkit.cli.{COMMANDS[name]}")
        return getattr(module, name.replace("-", "_"))

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except TlkitError as error:
            click.echo(f"tlkit: {error}", err=True)
            sys.exit(2)
        except KeyboardInterrupt:
            click.echo("tlkit: interrupted; finished epochs are kept, see --resume", err=True)
            sys.exit(130)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tlkit")
def main():
    """Transfer learning for image folders: check, advise, fine-tune, judge, export, predict.

    \b
    tlkit check photos/
    tlkit advise photos/
    tlkit finetune photos/ --backbone mobilenet_v2 --out runs/photos
    tlkit export runs/photos saved_models/photos
    tlkit predict saved_models/photos a.jpg b.png
    """
    gc.set_threshold(50_000, 20, 20)  # TensorFlow's import leaves much to look through


if __name__ == "__main__":
    main()
