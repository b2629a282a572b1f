"""tlkit: transfer learning for Keras 3 that measures, caches and cannot lie silently."""

import contextlib
import gc
import importlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

__version__ = "0.2.0"

if TYPE_CHECKING:
    from tlkit.advice.advise import advise as advise
    from tlkit.errors import AuditError as AuditError
    from tlkit.errors import ParityError as ParityError
    from tlkit.errors import TlkitError as TlkitError
    from tlkit.features.store import Store as Store
    from tlkit.images.dataset import Data as Data
    from tlkit.images.dataset import load_images as load_images
    from tlkit.images.dataset import read_images as read_images
    from tlkit.images.pixels import PixelRule as PixelRule
    from tlkit.inspection.neighbours import similar as similar
    from tlkit.labels.check import check_labels as check_labels
    from tlkit.models.classifier import Classifier as Classifier
    from tlkit.models.heads import Head as Head
    from tlkit.phases.phase import Phase as Phase
    from tlkit.planning.estimate import estimate as estimate
    from tlkit.serving.saved_model import predict as predict
    from tlkit.training.audit import audited as audited
    from tlkit.training.rate_finder import lr_find as lr_find
    from tlkit.training.run import Run as Run
    from tlkit.training.train import default_phases as default_phases
    from tlkit.training.train import fine_tune as fine_tune
    from tlkit.training.train import resume as resume
    from tlkit.tuning.search import search as search

# TensorFlow takes seconds to import, so each name is fetched on first use.
_HOME = {
    "advise": "advice.advise", "check_labels": "labels.check", "estimate": "planning.estimate",
    "lr_find": "training.rate_finder", "search": "tuning.search", "similar": "inspection.neighbours",
    "audited": "training.audit", "Data": "images.dataset", "load_images": "images.dataset", "read_images": "images.dataset",
    "AuditError": "errors", "ParityError": "errors", "TlkitError": "errors",
    "default_phases": "training.train", "fine_tune": "training.train", "resume": "training.train",
    "Classifier": "models.classifier", "Head": "models.heads", "Phase": "phases.phase", "PixelRule": "images.pixels",
    "predict": "serving.saved_model", "Run": "training.run", "Store": "features.store",
}  # fmt: skip
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'tlkit' has no attribute {name!r}")
    with _uncollected():
        return getattr(importlib.import_module(f"tlkit.{_HOME[name]}"), name)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Looks for no garbage in the block: among TensorFlow's objects that takes half a second."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
