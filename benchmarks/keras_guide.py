"""The transfer-learning script of the Keras documentation, in our words and on a folder.

Augmentation inside the model; the base called with training=False; the head trained on the frozen
base; then everything above the boundary opened, compiled again with Adam at 1e-5, trained on.
As published, `fit` overrides that training=False in Keras 3, so that BatchNorm statistics drift in
the second phase. With the option `freeze_norms` they stay, which is what the guide means to do:
the fair one to compare accuracy with.
"""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from benchmarks.worker import Clock, Job
from benchmarks.works import TAIL_RATE, Work

# name in the table of works -> constructor, its arguments, pixels it expects
APPLICATIONS: dict[str, tuple[Callable, dict, str]] = {
    "mobilenet_v2": (keras.applications.MobileNetV2, {}, "-1..1"),
    "mobilenet_v2_0.35": (keras.applications.MobileNetV2, {"alpha": 0.35}, "-1..1"),
    "resnet50": (keras.applications.ResNet50, {}, "caffe"),
}


def train(job: Job, clock: Clock) -> Callable[[list[str]], list[str]]:
    """Runs the guide's script, or once for each trial of a search; keeps the best trial."""
    keras.utils.set_random_seed(job.seed)
    clock.mark("imported")
    train_set, val_set, names = datasets(job)
    best = -1.0
    for number, (rate, dropout) in enumerate(job.work.settings, 1):
        model, base = build(job, len(names), dropout)
        score = fit_head(model, base, (train_set, val_set), rate, job.work.head_epochs)
        clock.mark(f"trial {number}")
        if score > best:
            best, kept, its_base = score, model, base
    if job.work.tail_epochs:
        open_tail(its_base, job.work.boundary, bool(job.options.get("freeze_norms")))
        compile_model(kept, TAIL_RATE)
        kept.fit(train_set, validation_data=val_set, epochs=job.work.tail_epochs, verbose=0)
    return lambda files: answers(kept, files, job.work, names)


def datasets(job: Job):
    """Returns training and validation sets that decode every file in every epoch, and the names."""
    options = {
        "image_size": (job.work.size, job.work.size),
        "batch_size": job.work.batch_size,
        "verbose": False,
    }
    read = keras.utils.image_dataset_from_directory
    train_set = read(f"{job.photos}/train", shuffle=True, seed=job.seed, **options)
    val_set = read(f"{job.photos}/val", shuffle=False, **options)
    ahead = [each.prefetch(tf.data.AUTOTUNE) for each in (train_set, val_set)]
    return *ahead, train_set.class_names


def build_base(job: Job) -> keras.Model:
    """Returns the backbone without its top."""
    constructor, arguments, _ = APPLICATIONS[job.work.backbone]
    shape = (job.work.size, job.work.size, 3)
    return constructor(include_top=False, weights=job.weights, input_shape=shape, **arguments)


def preprocess(pixels, work: Work):
    """Brings 0..255 to what the backbone expects."""
    if APPLICATIONS[work.backbone][2] == "caffe":
        return keras.applications.resnet.preprocess_input(pixels)
    return keras.layers.Rescaling(1 / 127.5, offset=-1)(pixels)


def build(job: Job, classes: int, dropout: float) -> tuple[keras.Model, keras.Model]:
    """Returns (the whole model, its base); the base is frozen."""
    base = build_base(job)
    base.trainable = False
    inputs = keras.Input((job.work.size, job.work.size, 3))
    x = keras.layers.RandomFlip("horizontal")(inputs)
    x = keras.layers.RandomRotation(0.1)(x)
    x = base(preprocess(x, job.work), training=False)
    x = keras.layers.GlobalAveragePooling2D()(x)
    outputs = keras.layers.Dense(classes)(keras.layers.Dropout(dropout)(x))
    return keras.Model(inputs, outputs), base


def compile_model(model: keras.Model, rate: float) -> None:
    """Compiles as the guide does."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])


def fit_head(model, base, sets, rate: float, epochs: int) -> float:
    """Trains the head alone; returns the last validation accuracy."""
    base.trainable = False
    compile_model(model, rate)
    history = model.fit(sets[0], validation_data=sets[1], epochs=epochs, verbose=0)
    return history.history["val_accuracy"][-1]


def open_tail(base: keras.Model, boundary: str, freeze_norms: bool) -> None:
    """Makes all layers after `boundary` trainable, BatchNorm layers only if asked for."""
    base.trainable = True
    names = [layer.name for layer in base.layers]
    last = names.index(boundary)
    for i, layer in enumerate(base.layers):
        norm = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = i > last and not (norm and freeze_norms)


def pictures(files: list[str], work: Work):
    """Returns a dataset of batches of `files`, read as the training images were."""

    def read(path):
        image = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
        return tf.image.resize(image, (work.size, work.size))

    return tf.data.Dataset.from_tensor_slices(files).map(read).batch(work.batch_size)


def answers(model, files: list[str], work: Work, names: list[str]) -> list[str]:
    """Returns the class the model gives to each file."""
    logits = model.predict(pictures(files, work), verbose=0)
    return [names[i] for i in np.argmax(logits, -1)]
