"""tlkit: transfer learning for Keras 3 that measures, caches and cannot lie silently."""

import contextlib
import gc
import importlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

__version__ = "0.2.0"

if TYPE_CHECKING:
    from tlkit.advice import advise as advise
    from tlkit.audit import audited as audited
    from tlkit.data import Data as Data
    from tlkit.data import load_images as load_images
    from tlkit.data import read_images as read_images
    from tlkit.errors import AuditError as AuditError
    from tlkit.errors import ParityError as ParityError
    from tlkit.errors import TlkitError as TlkitError
    from tlkit.finetune import default_phases as default_phases
    from tlkit.finetune import fine_tune as fine_tune
    from tlkit.finetune import resume as resume
    from tlkit.label_check import check_labels as check_labels
    from tlkit.model import Classifier as Classifier
    from tlkit.model import Head as Head
    from tlkit.neighbours import similar as similar
    from tlkit.phases import Phase as Phase
    from tlkit.pixels import PixelRule as PixelRule
    from tlkit.planner import estimate as estimate
    from tlkit.range_test import lr_find as lr_find
    from tlkit.run import Run as Run
    from tlkit.searching import search as search
    from tlkit.serving import predict as predict
    from tlkit.store import Store as Store

# TensorFlow takes seconds to import, so each name is fetched on first use.
_HOME = {
    "advise": "advice", "check_labels": "label_check", "estimate": "planner",
    "lr_find": "range_test", "search": "searching", "similar": "neighbours",
    "audited": "audit", "Data": "data", "load_images": "data", "read_images": "data",
    "AuditError": "errors", "ParityError": "errors", "TlkitError": "errors",
    "default_phases": "finetune", "fine_tune": "finetune", "resume": "finetune",
    "Classifier": "model", "Head": "model", "Phase": "phases", "PixelRule": "pixels",
    "predict": "serving", "Run": "run", "Store": "store",
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
