"""`tlkit augment`: what a policy does to one's own images."""

import click

from tlkit.cli.options import quietly


@click.command()
@click.argument("photos", type=click.Path(exists=True))
@click.option("--policy", default="photos", show_default=True, help="Unknown names list all.")
@click.option("--strength", default=1.0, show_default=True, help="0 is nothing, 1 as stated.")
@click.option("--out", metavar="FILE.png", help="Picture to write  [default: augment-POLICY.png]")
@click.option(
    "--views", default=6, show_default=True, type=click.IntRange(1, 32), help="Views of each image."
)
@click.option(
    "--images", default=5, show_default=True, type=click.IntRange(1, 64), help="Images shown."
)
@click.option(
    "--size", default=160, show_default=True, type=click.IntRange(16, 1024), help="Pixels each."
)
@click.option("--seed", default=0, show_default=True, help="Fixes the draws.")
@quietly
def augment(photos, policy, strength, out, images, **drawn):
    """Draw a contact sheet of what an augmentation policy does to PHOTOS (a folder or a file)."""
    from tlkit import files
    from tlkit.augmentation import preview

    paths = preview.choose(photos, images)
    shown = preview.preview(paths, policy, strength, **drawn)
    target = out or f"augment-{policy}.png"
    with files.replacing(target) as temporary:
        shown.save(temporary)
    shape = f"{len(paths)} images in {drawn['views']} views"
    click.echo(f"{shape} of {policy} at strength {strength:g}: {target}")
