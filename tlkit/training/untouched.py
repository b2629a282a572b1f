"""Proof that trying something out has left a classifier and the random states as they were."""

import contextlib
import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tlkit.backbones import weights
from tlkit.errors import AuditError
from tlkit.models.classifier import Classifier


@contextlib.contextmanager
def untouched(
    model: Classifier, what: str, seed: int = 0, but: Sequence[str] = ()
) -> Iterator[None]:
    """What is done inside must end with `model` bit-equal; it draws from generators of its own.

    Args:
        what: Who promises that, as the error names it.
        but: Keys of `state` that may change.
        seed: Of Python's and NumPy's generators inside, which Keras draws from.

    Raises:
        AuditError: Something has changed; it says what. Not checked after another error.
    """
    before = state(model)
    with _draws(seed):
        yield
    after = state(model)
    kept = [name for name in before if name not in but]
    if changed := [name for name in kept if after[name] != before[name]]:
        raise AuditError(f"{what} has changed what it was to leave alone: {', '.join(changed)}.")


def state(model: Classifier) -> dict[str, Any]:
    """Returns all that can change about a model, by the words an error names it with."""
    whole = model.keras_model
    layers = [*_layers(whole), *_layers(model.backbone.net)]
    optimizer = getattr(whole, "optimizer", None)
    kind, key, *place = np.random.get_state()
    return {
        "weights": weights.fingerprint(model.variables),
        "trainable flags": [layer.trainable for layer in layers],
        "BatchNorm's mode": model.extractor.live,
        "BatchNorm's momentum": [getattr(layer, "momentum", None) for layer in layers],
        "compilation": (whole.compiled, id(optimizer)),
        "optimizer": weights.fingerprint(optimizer.variables) if optimizer else None,
        "Python's random state": random.getstate(),
        "NumPy's random state": (kind, np.asarray(key).tobytes(), place),
    }


def _layers(layer) -> Iterator[Any]:
    """Yields `layer` and every layer nested in it."""
    yield layer
    for child in getattr(layer, "layers", []):
        yield from _layers(child)


@contextlib.contextmanager
def _draws(seed: int) -> Iterator[None]:
    """Seeds Python's and NumPy's generators and puts them back."""
    python, numpy = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
