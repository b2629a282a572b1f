"""Values for a network's variables: from Keras's ImageNet files, from any Keras file, or random.

Nothing here ever deletes or overwrites a file of the user.
"""

import contextlib
import hashlib
import os
import random
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tlkit.backbones.weight_files import fill
from tlkit.errors import TlkitError
from tlkit.files import content_hash


@dataclass(frozen=True)
class Official:
    """One file of Keras's own cache, and how to make Keras fetch it."""

    file: str
    digest: str | None  # MD5 or SHA-256 by its length; None where Keras has none
    download: Callable[[], Any]


def load_weights(
    net: keras.Model,
    source: str | os.PathLike | None,
    *,
    official: Official | None = None,
    seed: int = 0,
) -> str:
    """Gives `net` its values and returns where they came from, with a content hash.

    Args:
        source: "imagenet", None or "none" (random, from `seed`), or a file: `.weights.h5` or
            `.keras` of Keras 3, `.h5` of Keras 2, with or without the classifier on top, which is
            left out. A model that contains the network will do.
        official: What "imagenet" stands for; None if the network has no such weights.

    Raises:
        TlkitError: The file is missing, damaged, not the one Keras published under its name, or
            that of another network. `net` keeps its values.
    """
    if source is None or str(source) == "none":
        reinitialise(net.layers, seed)
        return f"random, seed {seed}, {fingerprint(net.weights)}"
    if str(source) == "imagenet":
        if official is None:
            raise TlkitError(f"There are no ImageNet weights of {net.name}. "
                             "Use --weights FILE or --weights none.")  # fmt: skip
        path, label = fetch(official), "imagenet"
    else:
        path, label = _existing(Path(source)), "file"
    fill(net, path)
    return f"{label} {path.name}, {fingerprint(net.weights)}"


def fingerprint(variables: Iterable[Any]) -> str:
    """Returns a hash of the values, shapes, dtypes and order of `variables`; names do not count."""
    parts = []
    for variable in variables:
        value = np.ascontiguousarray(keras.ops.convert_to_numpy(variable))
        parts += [
            f"{value.dtype}{value.shape}",
            content_hash(value.reshape(-1).view(np.uint8).data),
        ]
    return content_hash(" ".join(parts).encode())


def reinitialise(layers: Iterable[keras.layers.Layer], seed: int) -> None:
    """Gives every variable of `layers` a fresh initial value, as if the layer were new.

    The values depend on the seed and the layer's name only: not on the other layers, and not on
    random numbers drawn before.
    """
    for layer in layers:
        if not layer.weights:
            continue
        with _seeded(f"{seed}/{layer.name}"):
            fresh = type(layer).from_config(layer.get_config())
            fresh.build_from_config(layer.get_build_config())
        for variable, value in zip(layer.weights, fresh.weights, strict=True):
            variable.assign(value)


def inflate(values: list[np.ndarray], shapes: list[tuple]) -> list[np.ndarray]:
    """Returns `values` of a three-channel network for one with another number of channels.

    The first kernel is the one array whose shape differs. Its first three channels are copied,
    further ones (all, if fewer than three) get the average, and the sum is scaled by
    3 / channels: activations keep their size, and a gray picture on all channels gives exactly
    what it gave on three.
    """
    return [
        _inflated(v, s) if v.shape != tuple(s) else v for v, s in zip(values, shapes, strict=True)
    ]


def fetch(official: Official) -> Path:
    """Returns the path of an ImageNet file in Keras's cache, downloading it where it is missing.

    The digest is checked before Keras sees the file, since Keras deletes what it does not know.
    """
    path = keras_cache() / official.file
    if not path.exists():
        _download(official, path)
    if official.digest:
        found = _digest(path, "md5" if len(official.digest) == 32 else "sha256")
        if found != official.digest:
            raise TlkitError(
                f"{path} is not the file that Keras published under this name (digest expected "
                f"{official.digest}, found {found}). It was left untouched. If it is your own, "
                "move it elsewhere and name it with --weights FILE; if it is a broken download, "
                "delete it."
            )
    return path


def keras_cache() -> Path:
    """Returns the folder where Keras keeps weights: $KERAS_HOME/models, else ~/.keras/models."""
    base = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras").expanduser()
    writable = os.access(base if base.exists() else base.parent, os.W_OK)
    return (base if writable else Path(tempfile.gettempdir()) / ".keras") / "models"


def _download(official: Official, path: Path) -> None:
    """Lets Keras download, and turns its bare `Exception` into something one can act on."""
    try:
        official.download()
    except Exception as error:
        known = str(error).startswith(("URL fetch failure", "Incomplete or corrupted"))
        if not known and not isinstance(error, OSError):
            raise
        raise TlkitError(
            f"The ImageNet weights are not on this machine and could not be downloaded ({error}). "
            f"Put {official.file} into {path.parent}, or use --weights FILE or --weights none."
        ) from error
    if not path.exists():
        raise TlkitError(f"Keras downloaded {official.file}, but not to {path.parent}.")


def _digest(path: Path, algorithm: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _existing(path: Path) -> Path:
    if path.is_file():
        return path
    raise TlkitError(f"Weights {str(path)!r} not found: give 'imagenet', 'none' or the path of a "
                     ".weights.h5, .keras or .h5 file.")  # fmt: skip


def _inflated(kernel: np.ndarray, shape: tuple) -> np.ndarray:
    channels = shape[2]
    average = kernel.mean(axis=2, keepdims=True)
    if channels < 3:
        return np.repeat(average, channels, axis=2) * (3 / channels)
    extra = np.repeat(average, channels - 3, axis=2)
    return np.concatenate([kernel, extra], axis=2) * (3 / channels)


@contextlib.contextmanager
def _seeded(text: str) -> Iterator[None]:
    """Seeds Keras's unseeded initialisers, which take their seeds from Python's generator."""
    state = random.getstate()
    random.seed(text)
    try:
        yield
    finally:
        random.setstate(state)
