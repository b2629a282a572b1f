"""Labels for image files from an exported SavedModel; needs TensorFlow and Pillow, no more."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tlkit import files
from tlkit.errors import TlkitError

FACTS = "assets.extra/tlkit.json"


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The answer for one image: most probable label first in `top`."""

    file: str
    label: str
    probability: float
    top: tuple[tuple[str, float], ...]

    def as_dict(self) -> dict[str, Any]:
        """Returns the prediction as `tlkit predict --json` prints it."""
        top = [{"label": label, "probability": p} for label, p in self.top]
        return {
            "file": self.file,
            "label": self.label,
            "probability": self.probability,
            "top": top,
        }


def facts(folder: str | Path) -> dict[str, Any]:
    """Returns what an export says of itself: classes, pixel rule, calibration, parity.

    Raises:
        TlkitError: The folder holds no export.
    """
    folder = Path(folder)
    if not (folder / FACTS).exists():
        hint = (
            f" It is a run folder: first do `tlkit export {folder} saved_models/NAME`."
            if (folder / "run.json").exists()
            else ""
        )
        raise TlkitError(f"{folder} is not a model that tlkit exported.{hint}")
    return files.read_json(folder / FACTS)


class Server:
    """A loaded SavedModel.

    Args:
        folder: What `export` wrote.

    Raises:
        TlkitError: The folder holds no export.
    """

    def __init__(self, folder: str | Path):
        self.facts = facts(folder)
        import tensorflow as tf

        self.class_names = tuple(self.facts["class_names"])
        self._model = tf.saved_model.load(str(folder))  # functions die with it: keep it

    def predict(self, path: str | Path, top: int = 3) -> Prediction:
        """Returns the prediction for one image file.

        Raises:
            TlkitError: The file is missing or is no image; the message names it.
        """
        import tensorflow as tf

        if not hasattr(self._model, "serve"):
            raise TlkitError("This model takes pixels, not image files: use its `serve_pixels`.")
        data = _read(path)
        try:
            answer = self._model.serve(tf.constant([data]))
        except tf.errors.InvalidArgumentError:
            answer = self._model.serve(tf.constant([_transcoded(path, data)]))
        row = answer["probabilities"].numpy()[0]
        order = row.argsort()[::-1][:top]
        ranked = tuple((self.class_names[i], float(row[i])) for i in order)
        label, probability = self.class_names[row.argmax()], float(row.max())
        return Prediction(str(path), label, probability, ranked)


def predict(
    folder: str | Path, paths: Sequence[str | Path], top: int = 3
) -> tuple[list[Prediction], list[str]]:
    """Returns the predictions and, for files that cannot be read, the errors."""
    server = Server(folder)
    found, errors = [], []
    for path in paths:
        try:
            found.append(server.predict(path, top))
        except TlkitError as error:
            errors.append(str(error))
    return found, errors


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise TlkitError(f"Cannot read {path}: {error.strerror}.") from error


def _transcoded(path: str | Path, data: bytes) -> bytes:
    """Returns the picture as PNG, for formats TensorFlow does not decode, such as TIFF."""
    from tlkit.images.pixels import as_png

    try:
        return as_png(data)
    except (OSError, ValueError) as error:
        raise TlkitError(f"{path} is not an image that can be read: {error}") from error
