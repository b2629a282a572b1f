"""Backbones measured on the user's images: what each is worth and what it costs, ranked."""

import contextlib
import dataclasses
import os
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tlkit import files
from tlkit.advice import domain
from tlkit.errors import TlkitError
from tlkit.evaluation import bootstrap, probes
from tlkit.evaluation.folds import grouped_folds
from tlkit.features.stages import StageFeatures, stage_features
from tlkit.features.store import Store
from tlkit.images.dataset import Data, Images
from tlkit.images.subset import clusters_of, spread
from tlkit.models.classifier import Classifier
from tlkit.planning import costs

ALL = "all stages"
MOST_PROBES = 100  # probes left on disk
LEAST = 20  # images below which an interval spans half of all there is


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """Training images that are looked at.

    Attributes:
        images: The images.
        clusters: int64 [n]; copies of one picture, and groups the user named, share a number.
        folds: int64 [n], which keep clusters together.
        total: Training images there are.
    """

    images: Images
    clusters: np.ndarray
    folds: np.ndarray
    total: int


@dataclasses.dataclass(frozen=True, eq=False)
class Candidate:
    """One backbone, measured on the user's images.

    Attributes:
        name: As `Classifier` takes it.
        weights: Where its values came from.
        size: Pixels along one side.
        stages: Probes by stage in depth order, then `ALL` for all stages joined.
        domain: How far the images are from its own.
        cost: What it takes to use it.
        behind: The paired comparison of the first of the ranking with this one; empty for itself.
    """

    name: str
    weights: str
    size: int
    stages: Mapping[str, probes.Probe]
    domain: domain.Domain
    cost: costs.Cost
    behind: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def top(self) -> probes.Probe:
        """The probe on what a head would see."""
        return self.stages[[name for name in self.stages if name != ALL][-1]]

    @property
    def tied(self) -> bool:
        """Whether these images cannot tell it from the first of the ranking."""
        return not self.behind or not self.behind["verdict"].endswith("the first is better")


def sample(data: Data, limit: int, seed: int = 0) -> Sample:
    """Returns at most `limit` training images, classes in their proportions.

    Raises:
        TlkitError: Fewer than 20 training images.
    """
    images, rows = data.train, np.flatnonzero(data.splits == "train")
    if len(images) < LEAST:
        raise TlkitError(f"{len(images)} training images are too few to measure anything on.")
    clusters = clusters_of(data, rows)
    if len(images) > limit:
        chosen = spread(images.labels, limit, seed)
        clusters = clusters[chosen]
        images = dataclasses.replace(
            images, table=images.table.select(chosen), labels=images.labels[chosen],
            hashes=tuple(images.hashes[i] for i in chosen),
        )  # fmt: skip
    folds = grouped_folds(images.labels, clusters, probes.FOLDS, seed)
    return Sample(images, clusters, folds, len(rows))


def candidate(
    model: Classifier, looked: Sample, store: Store, every: bool = True
) -> tuple[Candidate, StageFeatures]:
    """Measures the backbone of `model`; returns what it is worth and the features that said so.

    Args:
        every: Whether all stages joined are probed too.
    """
    found = stage_features(model, looked.images, store)
    labels, stages = looked.images.labels, {}
    for name, rows in found.stages.items():
        stages[name] = probed(rows, labels, looked.folds)
    far = domain.measure(stages, found.norms)
    if every:
        stages[ALL] = probed(found.all_stages(), labels, looked.folds)
    price = costs.cost(model.backbone, found.rate, os.cpu_count() or 1)
    backbone = model.backbone
    made = Candidate(backbone.name, backbone.weights, model.rule.size, stages, far, price)
    return made, found


def ranked(measured: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Returns candidates by linear probe, each compared with the first on the same images."""
    order = sorted(measured, key=lambda c: (-c.top.linear.value, c.cost.multiply_adds))
    first = order[0]

    def compared(one):
        found = bootstrap.paired_difference(first.top.correct, one.top.correct)
        return dataclasses.replace(one, behind=found)

    return (first, *(compared(one) for one in order[1:]))


def probed(rows: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> probes.Probe:
    """Returns the probe of `rows`, kept on disk by what went into it: a second look is quick."""
    given = (np.ascontiguousarray(x) for x in (rows, labels, folds))
    key = files.combined_hash(1, *(files.content_hash(x.data) for x in given), rows.shape)
    path = files.home() / "probes" / f"{key}.npz"
    with contextlib.suppress(OSError, ValueError, KeyError, zipfile.BadZipFile):
        with np.load(path, allow_pickle=False) as kept:
            linear, knn = (probes.Accuracy(*kept[name].tolist()) for name in ("linear", "knn"))
            logme = float(kept["logme"])
            return probes.Probe(linear, knn, logme, kept["chances"], kept["correct"])
    found = probes.probe(rows, labels, folds)
    with files.replacing(path) as temporary:
        np.savez(
            temporary, linear=dataclasses.astuple(found.linear), logme=found.logme,
            knn=dataclasses.astuple(found.knn), chances=found.probabilities, correct=found.correct,
        )  # fmt: skip
    files.keep_newest(path.parent, "*.npz", MOST_PROBES)
    return found
