"""Labels checked by the images themselves: worklist, map and learning curve from one pass."""

import numpy as np

from tlkit.errors import TlkitError
from tlkit.evaluation import more_images, probes
from tlkit.evaluation.folds import grouped_folds
from tlkit.features.frozen import Frozen, View
from tlkit.features.store import Store
from tlkit.images import subset
from tlkit.images.dataset import Data, Images
from tlkit.inspection import data_map
from tlkit.labels import confident_learning, doubts
from tlkit.labels.result import LabelCheck
from tlkit.models.classifier import Classifier
from tlkit.models.network import POOLED

FOLDS = 5


def check_labels(
    model: Classifier,
    data: Data,
    *,
    with_test: bool = False,
    rate: float = confident_learning.RATE,
    seed: int = 0,
    store: Store | None = None,
) -> LabelCheck:
    """Returns what the images' frozen features say about their labels; changes nothing.

    Args:
        model: Whose pooled features are used; it should not have been trained on these images,
            or it has learnt their wrong labels too.
        with_test: Look at the test images as well. Mending test labels by what a model thinks of
            them makes that kind of model look better than it is; look at the pictures.
        rate: Share of images confident learning may list when all labels are right.

    Raises:
        TlkitError: A class has fewer than two images.
    """
    rows = np.flatnonzero(with_test | (data.splits != "test"))
    images = subset.chosen(data, rows, "all" if with_test else "train and val")
    features = Frozen(model, store or Store.default()).rows(images, POOLED, View())
    clusters = data.checked.clusters[rows]
    folds = grouped_folds(images.labels, clusters, _fold_count(images, clusters), seed)
    probabilities = probes.out_of_fold(features, images.labels, folds, seed)
    names = [images.table.name(i) for i in range(len(images))]
    evidence = doubts.Evidence(
        names, images.labels, images.class_names, probabilities, features, clusters
    )
    worklist = doubts.find(evidence, rate)
    plane, curve, notes = None, None, []
    try:
        marked = np.array([doubt.row for doubt in worklist.doubts], np.int64)
        plane = data_map.data_map(features, marked, seed)
        curve = more_images.learning_curve(features, images.labels, clusters, seed=seed)
    except TlkitError as error:
        notes.append(f"Left out: {error}")
    return LabelCheck(images, worklist, curve, plane, tuple(notes))


def _fold_count(images: Images, clusters: np.ndarray) -> int:
    """Returns five, or as many as the smallest class has pictures."""
    pairs = np.unique(np.stack([images.labels, clusters], 1), axis=0)
    counts = np.bincount(pairs[:, 0], minlength=len(images.class_names))
    if counts.min() < 2:
        name = images.class_names[int(counts.argmin())]
        raise TlkitError(
            f"The class {name!r} has {counts.min()} pictures among those to judge: others of its "
            "kind are needed to judge one."
        )
    return int(min(FOLDS, counts.min()))
