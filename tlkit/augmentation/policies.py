"""Augmentation policies as data: which changes leave a label alone, by kind of image.

A policy is a row of `POLICIES`. What its changes do is one row each of `warps.MATRICES`,
`warps.FIELDS` or `pixel_changes.CHANGES`.
"""

import dataclasses
import math
from typing import Any

from tlkit.augmentation import geometry
from tlkit.augmentation.pixel_changes import CHANGES
from tlkit.errors import TlkitError, unknown

OPERATIONS: dict[str, Any] = {**geometry.MATRICES, **geometry.FIELDS, **CHANGES}
MIXES = ("", "mixup", "cutmix")
_SCALED = ("rotate", "zoom", "shift", "brightness", "contrast")


@dataclasses.dataclass(frozen=True)
class Change:
    """One named change with how far it goes and how often.

    Args:
        name: A key of `OPERATIONS`.
        amount: How far it goes at strength 1, in the operation's unit; 0 is not at all.
        chance: Share of images it happens to.
    """

    name: str
    amount: float
    chance: float = 1.0

    def __post_init__(self):
        if self.name not in OPERATIONS:
            raise unknown("change of an image", self.name, OPERATIONS)
        limit = OPERATIONS[self.name].limit
        if not (0 <= self.amount <= limit and 0 <= self.chance <= 1):
            raise TlkitError(
                f"{self.name}: the amount must be 0 to {limit:g} ({OPERATIONS[self.name].unit}) "
                f"and the chance 0 to 1, not {self.amount:g} and {self.chance:g}."
            )


@dataclasses.dataclass(frozen=True)
class Policy:
    """Which changes leave the label alone, and how far each goes at strength 1.

    All geometry is applied as one warp, then light, then pixel changes in the order given.
    """

    mirror: bool = False  # left-right
    upside_down: bool = False
    quarter_turns: bool = False
    rotate: float = 0.0  # degrees, either way
    zoom: float = 0.0  # share of the size, in or out
    shift: float = 0.0  # share of the size, along each axis
    brightness: float = 0.0  # share of 255, up or down
    contrast: float = 0.0  # share, up or down
    assumes: str = ""  # which invariance of the label it relies on
    fill: str = "reflect"  # what lies beyond the border, a key of `warps.FILLS`
    fill_value: float = 0.0  # 0..255, where `fill` is constant
    changes: tuple[Change, ...] = ()
    pick: int = 0  # so many of the changes happen to an image; 0 is all
    chains: int = 0  # AugMix: so many chains of 1 to `pick` changes, averaged with the image
    mix: str = ""  # with another training image: mixup or cutmix; labels become shares
    alpha: float = 0.0  # of Beta(alpha, alpha), which the image's own share is drawn from

    def __post_init__(self):
        if self.fill not in geometry.FILLS:
            raise unknown("fill mode", self.fill, geometry.FILLS)
        if self.mix not in MIXES:
            raise unknown("way to mix images", self.mix, MIXES[1:])
        if bool(self.mix) != (self.alpha > 0):
            raise TlkitError(f"mix {self.mix!r} with alpha {self.alpha:g}: give both or neither.")
        if not 0 <= self.pick <= len(self.changes) or (self.chains and not self.pick):
            raise TlkitError(f"pick must be 0 to {len(self.changes)} changes (chains need 1).")

    def scaled(self, strength: float) -> "Policy":
        """Returns the policy `strength` times as strong; 0 changes nothing.

        Amounts are multiplied and end at their operations' limits. Mirrors and quarter turns are
        symmetries, which hold or do not: any strength above 0 keeps them, and all chances.
        """
        if not (math.isfinite(strength) and strength >= 0):
            raise TlkitError(f"The strength of augmentation must be 0 or more, not {strength}.")
        if strength == 1 or self.key() == Policy().key():
            return self
        if strength == 0:
            return Policy(assumes="nothing: every view is the image itself")
        amounts: dict[str, Any] = {n: _limited(n, getattr(self, n) * strength) for n in _SCALED}
        changes = tuple(
            dataclasses.replace(one, amount=_limited(one.name, one.amount * strength))
            for one in self.changes
        )
        return dataclasses.replace(self, changes=changes, alpha=self.alpha * strength, **amounts)

    def classic(self) -> tuple:
        """Returns the first eight values. Features are kept by them: their draws must stay."""
        return dataclasses.astuple(self)[: _FIELDS.index("assumes")]

    def key(self) -> tuple:
        """Returns the values that make views differ; those of plain warps and light come first."""
        values = dataclasses.astuple(dataclasses.replace(self, assumes=""))
        first = _FIELDS.index("assumes") + 1
        return values[:first] if values[first:] == _DEFAULTS[first:] else values


_FIELDS = [field.name for field in dataclasses.fields(Policy)]
_DEFAULTS = dataclasses.astuple(Policy())

_PHOTOS = Policy(
    mirror=True, rotate=10, zoom=0.1, shift=0.05, brightness=0.1, contrast=0.2,
    assumes="a thing seen in a mirror, a little turned, nearer or darker, is the same thing",
)  # fmt: skip

# Cubuk et al. (2020) sample `pick` operations of these, amounts as their table 2 at magnitude 9
# of 30 or so. Theirs come in random order and may repeat; ours are distinct, geometry first.
_RANDAUGMENT = (
    Change("autocontrast", 1), Change("equalize", 1), Change("rotate", 15), Change("solarize", 0.5),
    Change("posterize", 4), Change("saturation", 0.5), Change("contrast", 0.5),
    Change("brightness", 0.2), Change("sharpness", 1), Change("shear_x", 12),
    Change("shear_y", 12), Change("shift", 0.15),
)  # fmt: skip

# Hendrycks et al. (2020, section 3): nothing that is also a corruption of ImageNet-C.
_AUGMIX = (
    Change("autocontrast", 1), Change("equalize", 1), Change("posterize", 3),
    Change("solarize", 0.3), Change("rotate", 10), Change("shear_x", 8), Change("shear_y", 8),
    Change("shift", 0.1),
)  # fmt: skip

POLICIES = {
    "none": Policy(assumes="nothing: every view is the image itself"),
    "photos": _PHOTOS,
    "flip": Policy(mirror=True, assumes="a mirrored picture has the same label"),
    "digits": Policy(
        rotate=8, zoom=0.1, shift=0.08,
        assumes="writing slants and drifts, but a mirrored or turned sign is another sign",
    ),
    "textures": Policy(
        mirror=True, upside_down=True, quarter_turns=True, zoom=0.1, brightness=0.1, contrast=0.2,
        assumes="a surface has no up, no left and no right",
    ),
    "aerial": Policy(
        mirror=True, upside_down=True, quarter_turns=True, rotate=20, zoom=0.1, shift=0.05,
        brightness=0.1, contrast=0.2,
        changes=(Change("colour_shift", 0.04), Change("saturation", 0.2), Change("blur", 1, 0.3)),
        assumes="seen from above there is no up; haze, season and camera change colour a little",
    ),
    "microscopy": Policy(
        mirror=True, upside_down=True, quarter_turns=True, rotate=45, zoom=0.1, brightness=0.1,
        contrast=0.2,
        changes=(
            Change("elastic", 0.03), Change("hue", 10), Change("saturation", 0.2),
            Change("blur", 1, 0.3), Change("noise", 0.03),
        ),
        assumes="cells lie in any direction and give way; stain, focus and exposure vary",
    ),
    "documents": Policy(
        rotate=3, zoom=0.05, shift=0.03, brightness=0.1, contrast=0.2,
        fill="constant", fill_value=255,
        changes=(
            Change("perspective", 0.15), Change("shear_x", 3), Change("blur", 0.8, 0.3),
            Change("grain", 0.04), Change("jpeg", 70, 0.5),
        ),
        assumes="a page lies a little askew, is scanned or photographed badly, but is not mirrored",
    ),
    "xray": Policy(
        rotate=7, zoom=0.1, shift=0.05, brightness=0.05, contrast=0.2, fill="constant",
        changes=(Change("stretch", 0.05), Change("gamma", 0.3), Change("grain", 0.03)),
        assumes="pose and exposure vary within limits; left is left: no heart is mirrored",
    ),
    "randaugment": Policy(
        mirror=True, changes=_RANDAUGMENT, pick=2,
        assumes="as photos, and two strong changes of colour or geometry do not hide the thing",
    ),
    "augmix": Policy(
        mirror=True, changes=_AUGMIX, pick=3, chains=3,
        assumes="as photos, and an average of several distorted copies still shows the thing",
    ),
    "mixup": dataclasses.replace(
        _PHOTOS, mix="mixup", alpha=0.2,
        assumes="as photos, and halfway between two images the answer is halfway, too",
    ),
    "cutmix": dataclasses.replace(
        _PHOTOS, mix="cutmix", alpha=1.0,
        assumes="as photos, and each part of an image counts for the label by its area",
    ),
}  # fmt: skip


def policy(name: str, strength: float = 1.0) -> Policy:
    """Returns the named policy at a strength; unknown names get a suggestion.

    Args:
        strength: 0 changes nothing, 1 is the row of `POLICIES` itself.
    """
    if name not in POLICIES:
        raise unknown("augmentation policy", name, POLICIES)
    return POLICIES[name].scaled(strength)


def _limited(name, amount) -> float:
    return min(amount, OPERATIONS[name].limit)
