"""What is drawn for each view of each image: a pure function of seed, view and content."""

import collections
import functools

import numpy as np

from tlkit.augmentation import geometry
from tlkit.augmentation.pixel_changes import CHANGES
from tlkit.augmentation.policies import OPERATIONS, Change, Policy
from tlkit.files import content_hash


def draws(hashes, seed: int, view: int, count: int, stream: str = "") -> np.ndarray:
    """Returns uniform numbers in [0, 1), float32 [len(hashes), count].

    Each row depends on its own content hash, the seed, the view and the stream only (the
    SplitMix64 mixer of Steele, Lea and Flood, OOPSLA 2014, used as a counter-based generator).
    Every change has a stream of its own, so that one more does not alter the others.
    """
    content = np.array([int(text[:16], 16) for text in hashes], np.uint64)
    lane = np.uint64(seed % 2**32) << np.uint64(32) | np.uint64(view)
    with np.errstate(over="ignore"):
        start = _mix(content ^ _mix(np.array([lane]))[0])[:, None]
        if stream:
            start = _mix(start ^ np.uint64(int(content_hash(stream.encode())[:16], 16)))
        bits = _mix(start + np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN)
    return (bits >> np.uint64(40)).astype(np.float32) / np.float32(2**24)


def view_parameters(hashes, shape, chosen: Policy, seed: int, view: int) -> dict:
    """Returns what `apply` needs for one view of the images with these content hashes.

    Args:
        shape: (height, width) of the pixels in the view.

    Returns:
        A nest of arrays with n rows each: where needed, transform float32 [n, 8] (output to input
        coordinates, as TensorFlow's projective transform takes them), gain and offset float32
        [n, 1, 1, 1], and by the change's name `fields`, `values` and `masks`.
        Policies with chains have the same for each chain, and `weights` [n, 1 + chains].
    """
    draw = functools.partial(draws, hashes, seed, view)
    base: np.ndarray | None = None
    light: dict[str, np.ndarray] = {}
    if any(chosen.classic()):
        base, light = _classic_parameters(draw(9), shape, chosen)
    if not chosen.chains:
        return {**light, **_change_parameters(draw, shape, chosen, base, "")}
    first = {**light, **({} if base is None else {"transform": _flat(base)})}
    names = [f"chain{number}" for number in range(chosen.chains)]
    chains = [_change_parameters(draw, shape, chosen, None, name) for name in names]
    return {**first, "chains": chains, "weights": _weights(draw, chosen.chains)}


def _classic_parameters(u, shape, chosen) -> tuple[np.ndarray, dict]:
    signed = 2 * u - 1
    angle = np.radians(chosen.rotate * signed[:, 0])
    if chosen.quarter_turns:
        angle += np.pi / 2 * np.floor(4 * u[:, 1])
    scale = (1 + chosen.zoom) ** signed[:, 2]
    mirror = np.where(chosen.mirror & (u[:, 3] < 0.5), -1, 1)
    upside = np.where(chosen.upside_down & (u[:, 4] < 0.5), -1, 1)
    matrix = np.empty((len(u), 2, 2), np.float64)
    matrix[:, 0] = np.stack([np.cos(angle) * mirror, -np.sin(angle) * upside], 1)
    matrix[:, 1] = np.stack([np.sin(angle) * mirror, np.cos(angle) * upside], 1)
    matrix /= scale[:, None, None]
    height, width = shape
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    base = geometry.identity(len(u))
    base[:, :2, :2] = matrix
    base[:, :2, 2] = middle + chosen.shift * signed[:, 5:7] * [width, height] - matrix @ middle
    gain = 1 + chosen.contrast * signed[:, 7]
    offset = 255 * chosen.brightness * signed[:, 8]
    return base, {
        "gain": gain.astype(np.float32)[:, None, None, None],
        "offset": offset.astype(np.float32)[:, None, None, None],
    }


def _change_parameters(draw, shape, chosen, base, chain: str) -> dict:
    """Draws every change; `base` is the map [n, 3, 3] that the changes' own maps come before."""
    height, width = shape
    found: dict = {"fields": {}, "values": {}, "masks": {}}
    own, masks = None, _masks(draw, chosen, chain)
    for name, one in named(chosen):
        row = OPERATIONS[one.name]
        u = draw(row.draws, f"{chain} {name}")
        some = masks.get(name, np.ones(len(u), bool))
        if one.name in CHANGES:
            found["values"][name] = row.values(u, one.amount).astype(np.float32)
            found["masks"] |= {name: masks[name]} if name in masks else {}
        elif one.name in geometry.FIELDS:
            found["fields"][name] = (one.amount * (2 * u - 1) * some[:, None]).astype(np.float32)
        else:
            matrix = row.matrix((2 * u - 1) * some[:, None], one.amount, (width, height))
            own = matrix if own is None else own @ matrix
    if own is not None:
        own = geometry.about_middle(own, (width, height))
        base = own if base is None else base @ own
    if base is None and found["fields"]:
        base = geometry.identity(len(u))
    return found if base is None else {**found, "transform": _flat(base)}


def _masks(draw, chosen, chain: str) -> dict[str, np.ndarray]:
    """Returns which images each change happens to, where it is not all of them."""
    masks: dict[str, np.ndarray] = {}
    names = [name for name, _ in named(chosen)]
    if chosen.pick:
        order = draw(len(names), f"{chain} pick").argsort(1).argsort(1)
        # AugMix (Hendrycks et al. 2020, algorithm 1): a chain has one to `pick` changes.
        count = 1 + np.floor(chosen.pick * draw(1, f"{chain} depth")) if chain else chosen.pick
        masks = dict(zip(names, (order < count).T, strict=True))
    for name, one in named(chosen):
        if one.chance < 1:
            lucky = draw(1, f"{chain} chance {name}")[:, 0] < one.chance
            masks[name] = masks.get(name, True) & lucky
    return masks


def named(chosen: Policy) -> list[tuple[str, Change]]:
    """Returns each change with a name of its own: blur_0, and blur_1 if it is there twice."""
    seen: collections.Counter[str] = collections.Counter()
    found = []
    for one in chosen.changes:
        found.append((f"{one.name}_{seen[one.name]}", one))
        seen[one.name] += 1
    return found


def _weights(draw, chains: int) -> np.ndarray:
    """AugMix's shares: Dirichlet(1) over the chains, Beta(1, 1) for the image itself."""
    shares = -np.log(1 - draw(chains, "weights"))
    own = draw(1, "own")
    shares *= (1 - own) / np.maximum(shares.sum(1, keepdims=True), 1e-12)
    return np.concatenate([own, shares], 1).astype(np.float32)


def _flat(matrices: np.ndarray) -> np.ndarray:
    """Returns [n, 3, 3] maps as TensorFlow's float32 [n, 8]."""
    matrices = matrices / matrices[:, 2:, 2:]
    return matrices.reshape(-1, 9)[:, :8].astype(np.float32)


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(x):
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
