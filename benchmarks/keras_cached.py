"""The guide's script with its best-known shortcut: frozen features computed once for the head.

What the guide itself shows as feature extraction. The head then sees no augmentation; the second
phase is the guide's own, from pixels, with augmentation.
"""

from collections.abc import Callable

import keras
import numpy as np

from benchmarks import keras_guide as guide
from benchmarks.worker import Clock, Job
from benchmarks.works import DROPOUT, TAIL_RATE


def train(job: Job, clock: Clock) -> Callable[[list[str]], list[str]]:
    """Extracts, trains a head (or one for each trial), puts it on the base and goes on."""
    keras.utils.set_random_seed(job.seed)
    clock.mark("imported")
    train_set, val_set, names = guide.datasets(job)
    model, base = guide.build(job, len(names), DROPOUT)
    extractor = _extractor(job, base)
    sets = [_features(extractor, each) for each in (train_set, val_set)]
    clock.mark("features")
    best = -1.0
    for number, (rate, dropout) in enumerate(job.work.settings, 1):
        score, weights = _head(sets, len(names), rate, dropout, job.work)
        clock.mark(f"trial {number}")
        if score > best:
            best = score
            model.layers[-1].set_weights(weights)
    if job.work.tail_epochs:
        guide.open_tail(base, job.work.boundary, bool(job.options.get("freeze_norms")))
        guide.compile_model(model, TAIL_RATE)
        model.fit(train_set, validation_data=val_set, epochs=job.work.tail_epochs, verbose=0)
    return lambda files: guide.answers(model, files, job.work, names)


def _extractor(job: Job, base: keras.Model) -> keras.Model:
    inputs = keras.Input((job.work.size, job.work.size, 3))
    x = base(guide.preprocess(inputs, job.work), training=False)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))


def _features(extractor, dataset) -> tuple[np.ndarray, np.ndarray]:
    """Returns pooled features float32 [n, channels] and labels int [n], in one pass."""
    pairs = [(extractor.predict_on_batch(images), labels.numpy()) for images, labels in dataset]
    features, labels = zip(*pairs, strict=True)
    return np.concatenate(features), np.concatenate(labels)


def _head(sets, classes, rate, dropout, work):
    head = keras.Sequential([keras.layers.Dropout(dropout), keras.layers.Dense(classes)])
    guide.compile_model(head, rate)
    (x, y), held = sets
    history = head.fit(
        x, y, work.batch_size, epochs=work.head_epochs, validation_data=held, verbose=0
    )
    return history.history["val_accuracy"][-1], head.layers[-1].get_weights()
