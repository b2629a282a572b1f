"""What the page of a run tells, as one value: `run_report` gathers it, `run_page` draws it.

Every field is required, so that a fact forgotten while gathering is an error there and not a hole
in the page. What a young run does not have yet is an empty collection; None stands only where the
thing itself can be absent.
"""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Settings:
    """What was trained, how, when and where. The page lists all of it, in this order.

    Attributes:
        task: One sentence for the head of the page.
        backbone: Name of the backbone.
        weights: Where its values came from.
        size: Side of the square images the model sees, pixels.
        resize: How an image becomes a square, a way of `PixelRule`.
        channels: Channels of those images.
        head: Kind of head.
        seed: Seed of all that was drawn.
        started: Local time at which the run began.
        seconds: Wall time of the whole run; 0 until it is finished.
        folder: The run folder.
        phases: Name of each planned phase -> its settings in words.
        stopped: Why training ended early, empty where it did not.
    """

    task: str
    backbone: str
    weights: str
    size: int
    resize: str
    channels: int
    head: str
    seed: int
    started: datetime.datetime
    seconds: float
    folder: str
    phases: Mapping[str, str]
    stopped: str


@dataclass(frozen=True)
class DataFacts:
    """The images of the run, and what the checks found. The checks have always run.

    Attributes:
        class_names: The classes in the order of the labels.
        counts: Split -> class -> number of images; splits without images are left out.
        warnings: One sentence each.
        quarantine: File and reason of each image that is not used.
        skipped: Extension -> number of files that are not read.
    """

    class_names: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]
    warnings: tuple[str, ...]
    quarantine: tuple[tuple[str, str], ...]
    skipped: Mapping[str, int]


@dataclass(frozen=True)
class PhaseFacts:
    """One finished phase.

    Attributes:
        name: Its name.
        from_stage: The lowest trained stage, or words that say that there is none.
        trainable: Number of trained values.
        total: Number of all values of the model, statistics of BatchNorm among them.
        epochs: Epochs it ran.
        best_epoch: The epoch whose weights were kept, counted from 1 over the whole run.
        rates: Peak learning rates, one for each group of stages, the highest first.
        views: Views kept of each image, None where the images were drawn anew in each epoch.
        seconds: Wall time.
        frozen_equal: Whether the frozen part is what it was; None where nothing was frozen.
    """

    name: str
    from_stage: str
    trainable: int
    total: int
    epochs: int
    best_epoch: int
    rates: tuple[float, ...]
    views: int | None
    seconds: float
    frozen_equal: bool | None


@dataclass(frozen=True)
class EpochFacts:
    """One epoch.

    Attributes:
        epoch: Counted from 0 over the whole run.
        phase: Name of its phase.
        loss: Mean over the training images, with smoothing, nats.
        accuracy: Share of the training images, 0..1.
        val_loss: Mean over the validation images, nats.
        val_accuracy: Share of the validation images, 0..1.
        learning_rate: Of the last step.
        best: Whether its validation loss is the lowest of all.
    """

    epoch: int
    phase: str
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    best: bool


@dataclass(frozen=True, eq=False)
class Picture:
    """One image and what the model says about it.

    Attributes:
        image: uint8 [size, size, channels], 0..255.
        file: Its path, or its name in an array.
        true: Its class.
        predicted: The most probable class.
        probability: Of the predicted class, calibrated, 0..1.
        true_probability: Of its class, calibrated, 0..1.
    """

    image: np.ndarray
    file: str
    true: str
    predicted: str
    probability: float
    true_probability: float


@dataclass(frozen=True, eq=False)
class RunFacts:
    """All that the page of a run tells.

    Attributes:
        title: Heading of the page.
        settings: What was trained, how, when and where.
        data: The images and what the checks found.
        phases: The finished phases in order of time.
        history: The epochs in order of time.
        evaluations: Name such as `test` -> what `tlkit.evaluation.metrics.evaluate` returned. The
            page details `test`, else the last one.
        temperature: What the export divides logits by, above 0; 1 until it is fitted.
        samples: Predictions spread over the judged images.
        mistakes: Wrong predictions, the most confident first; empty where all are right.
        versions: Package -> version.
        usage: Heading such as `Python` -> lines of code.
    """

    title: str
    settings: Settings
    data: DataFacts
    phases: tuple[PhaseFacts, ...]
    history: tuple[EpochFacts, ...]
    evaluations: Mapping[str, Mapping[str, Any]]
    temperature: float
    samples: tuple[Picture, ...]
    mistakes: tuple[Picture, ...]
    versions: Mapping[str, str]
    usage: Mapping[str, str]
