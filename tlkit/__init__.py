"""tlkit: transfer learning for Keras 3 that measures, caches and cannot lie silently.

    data = tlkit.load_images("photos/")
    model = tlkit.Classifier("mobilenet_v2", data.class_names)
    run = tlkit.fine_tune(model, data)
    print(run.evaluate(data.test)); tlkit.report(run)
    tlkit.export(model, "saved_models/photos")

The rooms, in the order in which data flows: `images`, `augmentation`, `backbones` and `nets`
(`layers`), `models`, `features`, `phases`, `training`, `evaluation`, `pages`, `planning`, `advice`,
`labels`, `inspection`, `workflows`, `tuning`, `serving`, `cli`. Each says in its `__init__` what
lives there and which file to read first; every import points down (tests/test_imports.py).
"""

import contextlib
import gc
import importlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

__version__ = "0.2.0"

if TYPE_CHECKING:
    from tlkit import nets as nets
    from tlkit.advice.advise import advise as advise
    from tlkit.advice.result import Advice as Advice
    from tlkit.backbones.backbone import Backbone as Backbone
    from tlkit.backbones.backbone import Stage as Stage
    from tlkit.backbones.preprocess import Preprocess as Preprocess
    from tlkit.errors import AuditError as AuditError
    from tlkit.errors import ParityError as ParityError
    from tlkit.errors import TlkitError as TlkitError
    from tlkit.evaluation.bootstrap import interval as interval
    from tlkit.evaluation.bootstrap import paired_difference as paired_difference
    from tlkit.evaluation.metrics import Evaluation as Evaluation
    from tlkit.features.decoded import pixel_rows as pixel_rows
    from tlkit.features.store import Store as Store
    from tlkit.images.dataset import Data as Data
    from tlkit.images.dataset import Images as Images
    from tlkit.images.dataset import load_images as load_images
    from tlkit.images.dataset import read_images as read_images
    from tlkit.images.pixels import PixelRule as PixelRule
    from tlkit.images.pixels import load_pixels as load_pixels
    from tlkit.images.sources import read_source as read_source
    from tlkit.images.table import Table as Table
    from tlkit.images.table import from_arrays as from_arrays
    from tlkit.inspection.neighbours import similar as similar
    from tlkit.labels.check import check_labels as check_labels
    from tlkit.models.classes import update_classes as update_classes
    from tlkit.models.classifier import Classifier as Classifier
    from tlkit.models.heads import Head as Head
    from tlkit.phases.phase import Phase as Phase
    from tlkit.planning.estimate import estimate as estimate
    from tlkit.progress import silenced as silenced
    from tlkit.serving.export import export as export
    from tlkit.serving.saved_model import predict as predict
    from tlkit.training.audit import audited as audited
    from tlkit.training.rate_finder import lr_find as lr_find
    from tlkit.training.run import Run as Run
    from tlkit.training.train import default_phases as default_phases
    from tlkit.training.train import resume as resume
    from tlkit.tuning.search import search as search
    from tlkit.workflows.demo import run_demo as run_demo
    from tlkit.workflows.demo import write_digits as write_digits
    from tlkit.workflows.evaluating import evaluate as evaluate
    from tlkit.workflows.fine_tuning import fine_tune as fine_tune
    from tlkit.workflows.recipes import run_recipe as run_recipe
    from tlkit.workflows.reports import report as report

# TensorFlow takes seconds to import, so each name is fetched on first use.
_ROOMS = {
    "advice.advise": "advise",
    "advice.result": "Advice",
    "backbones.backbone": "Backbone Stage",
    "backbones.preprocess": "Preprocess",
    "errors": "AuditError ParityError TlkitError",
    "evaluation.bootstrap": "paired_difference interval",
    "evaluation.metrics": "Evaluation",
    "features.decoded": "pixel_rows",
    "features.store": "Store",
    "images.dataset": "Data Images load_images read_images",
    "images.pixels": "PixelRule load_pixels",
    "inspection.neighbours": "similar",
    "labels.check": "check_labels",
    "models.classes": "update_classes",
    "models.classifier": "Classifier",
    "models.heads": "Head",
    "phases.phase": "Phase",
    "planning.estimate": "estimate",
    "serving.export": "export",
    "serving.saved_model": "predict",
    "training.audit": "audited",
    "training.rate_finder": "lr_find",
    "training.run": "Run",
    "training.train": "default_phases resume",
    "tuning.search": "search",
    "images.table": "Table from_arrays",
    "images.sources": "read_source",
    "progress": "silenced",
    "workflows.demo": "run_demo write_digits",
    "workflows.evaluating": "evaluate",
    "workflows.fine_tuning": "fine_tune",
    "workflows.recipes": "run_recipe",
    "workflows.reports": "report",
}
_HOME = {name: module for module, names in _ROOMS.items() for name in names.split()}
__all__ = sorted([*_HOME, "nets"])


def __getattr__(name: str):
    if name == "nets":
        return importlib.import_module("tlkit.nets")
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
