"""How near tlkit is to what this machine can do: forward, decode and tail, achieved / floor.

Runs in one process: `python -m benchmarks.floors FOLDER OUT.json WEIGHTS`. Each rate is the best
of several passes, after a first one that is not counted (compilation, caches).
"""

import contextlib
import importlib.util
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.features import decoded

BACKBONE, SIZE, STAGE, BATCH = "mobilenet_v2", 160, "stage5", 32
PASSES = 3


def rate(job: Callable[[], Any], count: int, before: Callable[[], Any] = lambda: None) -> float:
    """Returns images per wall second of `job`, which handles `count`; `before` is not timed."""
    before()
    job()
    seconds = []
    for _ in range(PASSES):
        before()
        began = time.perf_counter()
        job()
        seconds.append(time.perf_counter() - began)
    return count / min(seconds)


# --- decode ----------------------------------------------------------------------------------


def _tensorflow(path: str):
    import tensorflow as tf

    encoded = tf.io.read_file(path)
    ratio = _scale(*tf.image.extract_jpeg_shape(encoded).numpy()[:2])
    image = tf.io.decode_jpeg(encoded, channels=3, ratio=ratio)
    return tf.image.resize(image, (SIZE, SIZE), antialias=ratio == 1)


def _pillow(path: str):
    from PIL import Image

    with Image.open(path) as image:
        image.draft("RGB", (SIZE, SIZE))
        return np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR, reducing_gap=2.0))


def _simplejpeg(path: str):
    import simplejpeg

    encoded = Path(path).read_bytes()
    image = simplejpeg.decode_jpeg(encoded, min_height=SIZE, min_width=SIZE)
    return _shrunk(image)


def _opencv(path: str):
    import cv2

    image = cv2.imread(path, cv2.IMREAD_REDUCED_COLOR_2 if _large(path) else cv2.IMREAD_COLOR)
    return cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def _shrunk(image):
    if importlib.util.find_spec("cv2"):
        import cv2

        return cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    from PIL import Image

    whole = Image.fromarray(image)
    return np.asarray(whole.resize((SIZE, SIZE), Image.Resampling.BILINEAR, reducing_gap=2.0))


def _large(path: str) -> bool:
    from PIL import Image

    with Image.open(path) as image:
        return min(image.size) >= 2 * SIZE


def _scale(height: int, width: int) -> int:
    return next((ratio for ratio in (8, 4, 2) if min(height, width) >= SIZE * ratio), 1)


# name -> (package it needs, function from a path to the pixels)
DECODERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "tensorflow, reduced scale": ("tensorflow", _tensorflow),
    "Pillow draft": ("PIL", _pillow),
    "simplejpeg, reduced scale": ("simplejpeg", _simplejpeg),
    "OpenCV": ("cv2", _opencv),
}


def decode(paths: list[str]) -> dict[str, Any]:
    """Returns images per second of every decoder here, on all cores, and of tlkit's."""
    from tlkit.images import pixels

    rates = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, (package, read) in DECODERS.items():
            if importlib.util.find_spec(package):
                rates[name] = rate(lambda read=read: list(pool.map(read, paths)), len(paths))
    rule = pixels.PixelRule(SIZE, "squash")
    achieved = rate(lambda: list(pixels.load_paths(paths, rule)), len(paths))
    return _compared("decode", rates, achieved)


# --- forward ---------------------------------------------------------------------------------


def forward(data, weights: str) -> dict[str, Any]:
    """Returns images per second of the frozen net in every engine here, and of tlkit's rows."""
    import tlkit
    from tlkit.features import frozen as features
    from tlkit.features.store import Store
    from tlkit.models.network import PIXELS, POOLED

    rule = tlkit.PixelRule(SIZE, "squash")
    model = tlkit.Classifier(BACKBONE, data.class_names, size=rule, weights=weights)
    net = model.segment(PIXELS, POOLED)
    images = decoded.pixel_rows(Store(), data.train, rule)
    rates = {}
    with contextlib.ExitStack() as stack:
        for name, make in ENGINES.items():
            run = make(net, stack)
            if run:
                rates[name] = rate(lambda run=run: [run(b) for b in _batches(images)], len(images))

    frozen = features.Frozen(model, Store())

    def decoded_only():
        frozen.store = Store()
        decoded.pixel_rows(frozen.store, data.train, rule)

    def extract():
        return frozen.rows(data.train, POOLED, features.View())

    return _compared("forward", rates, rate(extract, len(images), decoded_only))


def _batches(images) -> Iterator[np.ndarray]:
    """Yields full batches; the last one is filled up with the first images."""
    for start in range(0, len(images), BATCH):
        yield images[np.arange(start, start + BATCH) % len(images)].astype(np.float32)


def _graph(net, stack):
    import tensorflow as tf

    signature = [tf.TensorSpec([BATCH, SIZE, SIZE, 3], tf.float32)]
    return tf.function(lambda x: net(x, training=False), input_signature=signature)


def _constants(net, stack):
    """Weights as constants, so that TensorFlow's optimiser folds BatchNorm into the kernels."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2 as freeze,
    )

    frozen = freeze(_graph(net, stack).get_concrete_function())
    return lambda batch: frozen(tf.constant(batch))


def _half(net, stack):
    """The same in bfloat16 where oneDNN finds that worth while; the switch holds for `stack`."""
    import tensorflow as tf

    name = "auto_mixed_precision_onednn_bfloat16"
    tf.config.optimizer.set_experimental_options({name: True})
    stack.callback(tf.config.optimizer.set_experimental_options, {name: False})
    return _constants(net, stack)


def _openvino(precision: str) -> Callable:
    def make(net, stack):
        if importlib.util.find_spec("openvino") is None:
            return None
        import openvino

        folder = stack.enter_context(tempfile.TemporaryDirectory())
        net.export(f"{folder}/net.xml", format="openvino", verbose=False)
        hints = {"INFERENCE_PRECISION_HINT": precision}
        compiled = openvino.Core().compile_model(f"{folder}/net.xml", "CPU", hints)
        return lambda batch: compiled(batch)[0]

    return make


ENGINES: dict[str, Callable] = {
    "TensorFlow graph": _graph,
    "TensorFlow, weights as constants": _constants,
    "TensorFlow, constants, bf16": _half,
    "OpenVINO": _openvino("f32"),
    "OpenVINO, bf16": _openvino("bf16"),
}


# --- tail ------------------------------------------------------------------------------------


def tail(data, weights: str) -> dict[str, Any]:
    """Returns images per second of a bare training loop on one batch, and of tlkit's epochs."""
    import tlkit

    rule = tlkit.PixelRule(SIZE, "squash")
    trained, model = (
        tlkit.Classifier(BACKBONE, data.class_names, size=rule, weights=weights) for _ in range(2)
    )
    bare = rate(_bare_epoch(trained, len(data.train)), len(data.train))
    phase = tlkit.Phase(
        "fine-tune",
        STAGE,
        epochs=PASSES + 1,
        patience=PASSES + 1,
        rate=1e-4,
        views=1,
        augment="none",
    )
    with tempfile.TemporaryDirectory() as folder:
        run = tlkit.fine_tune(model, data, [phase], out=f"{folder}/run")
    seconds = min(row["seconds"] for row in run.history[1:])
    return _compared("tail", {"bare loop on one batch": bare}, len(data.train) / seconds)


def _bare_epoch(model, count: int) -> Callable[[], Any]:
    """Returns an epoch of the tail's arithmetic alone: forward, backward, Adam; no input at all."""
    import keras
    import tensorflow as tf

    from tlkit.models.network import POOLED

    below = model.boundary_below(STAGE)
    part, head = model.segment(below, POOLED), model.classify
    variables = [*part.trainable_variables, *head.trainable_variables]
    optimizer = keras.optimizers.Adam(1e-4)
    optimizer.build(variables)
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    x = tf.random.stateless_normal((BATCH, *model.boundary_shape(below)), [0, 1])
    y = tf.zeros(BATCH, tf.int32)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = loss_of(y, head(part(x, training=False), training=True))
        gradients = tape.gradient(loss, [v.value for v in variables])
        optimizer.apply(gradients, variables)
        return loss

    return lambda: [step() for _ in range(-(-count // BATCH))][-1].numpy()


# --- all -------------------------------------------------------------------------------------


def _compared(name: str, rates: dict[str, float], achieved: float) -> dict[str, Any]:
    best = max(rates, key=lambda key: rates[key])
    return {
        "name": name,
        "rates": {key: round(value, 1) for key, value in rates.items()},
        "best": best,
        "achieved": round(achieved, 1),
        "share": achieved / rates[best],
    }


def measure(folder: str, weights: str) -> list[dict[str, Any]]:
    """Measures all three on a prepared folder."""
    import tlkit
    from benchmarks.worker import labelled

    data = tlkit.load_images(f"{folder}/photos", test_share=0.0)
    paths = labelled(f"{folder}/photos/train")[0]
    return [decode(paths), forward(data, weights), tail(data, weights)]


def table(floors: list[dict[str, Any]]) -> str:
    """Returns the floors as Markdown: images per second, and tlkit's share of the best."""
    header = f"### Floors\n\nImages per second at {SIZE} pixels, {BACKBONE}, best of {PASSES}.\n"
    lines = [header, "| what | rate | tlkit / this |", "|---|---|---|"]
    for floor in floors:
        for name, value in floor["rates"].items():
            share = floor["achieved"] / value
            lines.append(f"| {floor['name']}: {name} | {value:,.0f} | {share:.2f} |")
        share = f"{floor['share']:.2f} of the best"
        lines.append(f"| {floor['name']}: **tlkit** | {floor['achieved']:,.0f} | {share} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    found = measure(sys.argv[1], sys.argv[3])
    Path(sys.argv[2]).write_text(json.dumps(found))
