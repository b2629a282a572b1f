"""What kind of pictures these seem to be, from simple statistics: a suggestion how to augment.

It looks at no label and knows no picture; it can only see what a policy's assumption would show in
the pixels. So it suggests, says why, and anything the user says goes before it.
"""

import dataclasses

import numpy as np

_SAMPLE = 256
_SIDE = 32  # pixels along one side of the pictures that are looked at
_FEWEST = 16


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Means over pictures; all but `strokes` between 0 and 1.

    Attributes:
        gray: Share of pictures without colour.
        white, black: Share of pixels that are nearly so.
        edge: How alike the pixels along the border of one picture are.
        structure: How much of the variance is the same in all pictures, at the same place. Things
            that are photographed have a place; surfaces, cells and land seen from above do not.
        hues: Concentration of hue over coloured pixels; 1 if all have one hue.
        even: How equal gradients are along both axes; 1 if equal.
        strokes: Changes between background and ink along a line that holds ink: two for each.
    """

    gray: float
    white: float
    black: float
    edge: float
    structure: float
    hues: float
    even: float
    strokes: float


@dataclasses.dataclass(frozen=True)
class Kind:
    """A guess: `name` of the kind, the augmentation `policy` that suits it, and `reason`."""

    name: str
    policy: str
    reason: str
    statistics: Statistics | None = None


# First that holds. (kind, policy, test, words); the numbers are conventions, chosen to be missed
# rather than to be wrong: what none claims is a photo, and augmented as the default does.
_RULES = (
    ("document", "documents", lambda s: s.gray > 0.9 and s.white > 0.4 and s.strokes > 6,
     "gray, mostly white, with many strokes in a line"),
    ("handwriting", "digits", lambda s: s.gray > 0.9 and s.white + s.black > 0.6,
     "gray strokes on a plain background"),
    ("xray", "xray", lambda s: s.gray > 0.9 and s.structure > 0.35 and s.black > 0.1,
     "gray, partly black, and alike at each place"),
    ("texture", "textures", lambda s: s.gray > 0.9 and s.structure < 0.06,
     "gray, and nothing is always at the same place"),
    ("microscopy", "microscopy", lambda s: s.gray < 0.1 and s.structure < 0.04 and s.hues > 0.85,
     "one range of colour, and nothing is always at the same place"),
    ("aerial", "aerial", lambda s: s.gray < 0.1 and s.structure < 0.015 and s.even > 0.97
     and s.edge < 0.5, "colours, no direction, and nothing is always at the same place"),
)  # fmt: skip
_PHOTO = Kind("photo", "photos", "nothing speaks for another kind")


def guess(rows: np.ndarray) -> Kind:
    """Returns the kind that pixels uint8 [n, height, width, channels] seem to be.

    A spread-out sample of at most 256 rows is looked at; fewer than 16 say nothing.
    """
    if len(rows) < _FEWEST:
        return dataclasses.replace(_PHOTO, reason=f"{len(rows)} pictures are too few to tell")
    found = statistics(rows)
    for name, policy, holds, words in _RULES:
        if holds(found):
            return Kind(name, policy, words, found)
    return dataclasses.replace(_PHOTO, statistics=found)


def statistics(rows: np.ndarray) -> Statistics:
    """Returns what is measured about pixels uint8 [n, height, width, channels]."""
    x = _small(rows[:: max(1, len(rows) // _SAMPLE)][:_SAMPLE])
    light, spread = x.mean(-1), x.max(-1) - x.min(-1)
    coloured = spread > 0.1
    border = np.concatenate([light[:, 0], light[:, -1], light[:, :, 0], light[:, :, -1]], axis=1)
    across, down = np.abs(np.diff(light, axis=2)).mean(), np.abs(np.diff(light, axis=1)).mean()
    return Statistics(
        gray=float((spread.mean((1, 2)) < 0.02).mean()),
        white=float((light > 0.9).mean()),
        black=float((light < 0.1).mean()),
        edge=float(np.mean(border.std(1) < 0.05)),
        structure=_structure(light),
        hues=_concentration(x[coloured]) if coloured.mean() > 0.02 else 1.0,
        even=float(min(across, down) / max(across, down, 1e-12)),
        strokes=_strokes(light),
    )


def _small(rows: np.ndarray) -> np.ndarray:
    """Returns float32 0..1 [n, side, side, 3], averaged over squares."""
    side = min(_SIDE, rows.shape[1], rows.shape[2])
    x = np.asarray(rows[..., :3] if rows.shape[-1] >= 3 else np.repeat(rows[..., :1], 3, -1))
    step = x.shape[1] // side, x.shape[2] // side
    x = x[:, : side * step[0], : side * step[1]].astype(np.float32) / 255
    return x.reshape(len(x), side, step[0], side, step[1], 3).mean((2, 4))


def _structure(light: np.ndarray) -> float:
    """Returns the share of variance that is the mean picture's; what chance gives is taken off."""
    within = light - light.mean((1, 2), keepdims=True)
    total = float((within**2).mean())
    kept = float((within.mean(0) ** 2).mean()) - total / len(light)
    return max(kept, 0.0) / max(total, 1e-12)


def _strokes(light: np.ndarray) -> float:
    """Returns the changes between background (the picture's median) and ink along inked lines."""
    ink = np.abs(light - np.median(light, axis=(1, 2), keepdims=True)) > 0.15
    inked = ink.any(2)
    return float(np.diff(ink, axis=2).sum(2)[inked].mean()) if inked.any() else 0.0


def _concentration(pixels: np.ndarray) -> float:
    """Returns the length of the mean direction of hue, over coloured pixels [m, 3]."""
    red, green, blue = pixels.T
    turn = np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue)
    return float(np.abs(np.exp(1j * turn).mean()))
