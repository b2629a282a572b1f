"""Draws docs/augment/*.jpg and the gallery in docs/augmentation.md: python docs/augment_pictures.py

Every picture shows a drawn scene first and views of it after.
"""

import inspect
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from tlkit import files
from tlkit.augmentation import geometry, preview
from tlkit.augmentation.policies import CHANGES, OPERATIONS, POLICIES, Change, Policy

DOCS = Path(__file__).parent
HEADING = "## Pictures\n"
SIZE = 80
VIEWS = 5
SEED = 4  # of draws that show both ways
# How far each operation goes in its picture: further than a policy should.
AMOUNTS = {
    "rotate": 40, "zoom": 0.6, "stretch": 0.5, "shear_x": 30, "shear_y": 30, "shift": 0.3,
    "jitter": 1, "perspective": 0.8, "lens": 0.5, "elastic": 0.12, "brightness": 0.4,
    "contrast": 0.8, "gamma": 1.5, "colour_shift": 0.3, "saturation": 1, "hue": 120, "noise": 0.3,
    "grain": 0.4, "blur": 2, "sharpness": 1, "erase": 0.3, "jpeg": 97, "solarize": 0.8,
    "posterize": 6.5, "autocontrast": 1, "equalize": 1,
}  # fmt: skip
SYMMETRIES = {
    "mirror": "The left-right mirror image, for half of the images.",
    "upside_down": "The up-down mirror image, for half of the images.",
    "quarter_turns": "A turn by 0, 90, 180 or 270 degrees.",
}


def scene(second: bool = False) -> np.ndarray:
    """Returns a drawn house by day, or a tree by night: uint8 [SIZE, SIZE, 3]."""
    big = Image.new("RGB", (384, 384), (25, 30, 80) if second else (130, 190, 235))
    draw = ImageDraw.Draw(big)
    draw.rectangle((0, 260, 384, 384), (30, 70, 40) if second else (110, 170, 80))
    draw.ellipse((290, 30, 350, 90), (240, 240, 220) if second else (250, 220, 90))
    if second:
        draw.rectangle((170, 200, 205, 330), (95, 60, 40))
        draw.ellipse((90, 60, 280, 240), (50, 130, 70))
    else:
        draw.rectangle((70, 160, 230, 320), (205, 90, 70))
        draw.polygon([(50, 165), (150, 70), (250, 165)], (90, 60, 60))
        draw.rectangle((165, 240, 205, 320), (70, 50, 40))
        draw.rectangle((95, 195, 140, 240), (240, 240, 200))
    for i in range(5):
        draw.line((260 + 25 * i, 270, 260 + 25 * i, 340), (235, 235, 235), 8)
    draw.line((255, 300, 370, 300), (235, 235, 235), 8)
    return np.asarray(big.resize((SIZE, SIZE), Image.Resampling.LANCZOS))


def draw_sheet(name: str, policy: Policy, both: bool) -> None:
    """Writes one contact sheet."""
    images = np.stack([scene(), scene(second=True)])
    hashes = [files.content_hash(image.tobytes()) for image in images]
    cells = preview.sheet(images, hashes, policy, VIEWS, SEED)
    picture = preview.picture(cells if both else cells[:1])
    (DOCS / "augment").mkdir(exist_ok=True)
    picture.save(DOCS / "augment" / f"{name}.jpg", quality=75, optimize=True)


def operation_line(name: str) -> str:
    """Returns the first line of an operation's docstring with its unit."""
    row = OPERATIONS[name]
    kind = (CHANGES, "run") if name in CHANGES else (geometry.MATRICES, "matrix")
    function = row.bend if name in geometry.FIELDS else getattr(row, kind[1])
    return f"{inspect.getdoc(function).splitlines()[0]} Amount: {row.unit}."


def gallery() -> str:
    """Draws everything and returns the Markdown that shows it."""
    lines = [HEADING, "Drawn by `docs/augment_pictures.py`. The image itself comes first.\n"]
    lines.append("### Policies at strength 1\n")
    for name, policy in POLICIES.items():
        draw_sheet(f"policy_{name}", policy, both=True)
        lines.append(
            f"**{name}** assumes {policy.assumes}.\n\n![{name}](augment/policy_{name}.jpg)\n"
        )
    lines.append("### Operations, further than a policy should go\n")
    for name, text in SYMMETRIES.items():
        draw_sheet(name, Policy(**{name: True}), both=False)
        lines.append(f"**{name}** {text}\n\n![{name}](augment/{name}.jpg)\n")
    for name, amount in AMOUNTS.items():
        fill = "nearest" if name == "jitter" else "reflect"
        draw_sheet(name, Policy(changes=(Change(name, amount),), fill=fill), both=False)
        lines.append(f"**{name}** {operation_line(name)}\n\n![{name}](augment/{name}.jpg)\n")
    lines.append("### What lies beyond the border\n")
    for name, text in geometry.FILLS.items():
        moved = Policy(shift=0.3, rotate=30, fill=name, fill_value=200)
        draw_sheet(f"fill_{name}", moved, both=False)
        lines.append(f"**fill={name}** {text}\n\n![{name}](augment/fill_{name}.jpg)\n")
    return "\n".join(lines)


if __name__ == "__main__":
    page = DOCS / "augmentation.md"
    files.write_text(page, page.read_text().partition(HEADING)[0] + gallery())
