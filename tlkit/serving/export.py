"""A SavedModel that serves: image bytes in, label and calibrated probability out, parity proven.

The graph holds the pixel rule, preprocessing, network, temperature and labels, and is traced with
`training=False`. After writing, a fresh process that imports TensorFlow alone answers on stored
images; if it does not agree with `predict`, there is no export.
"""

import dataclasses
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from tlkit import files
from tlkit.errors import ParityError, TlkitError
from tlkit.images import pixels
from tlkit.models.classifier import Classifier
from tlkit.serving.saved_model import FACTS

TOLERANCE = 1e-4  # largest difference of a probability: kernels may sum in another order
TOP = 5

# What the fresh process runs. It may use nothing but TensorFlow and the standard library.
_CHECK = """
import json, sys, tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
images = [open(path, "rb").read() for path in json.load(sys.stdin)]
once = model.signatures["serving_default"](tf.constant(images))
one_by_one = [model.signatures["serving_default"](tf.constant([image])) for image in images]
print(json.dumps({
    "probabilities": once["probabilities"].numpy().tolist(),
    "alone": [answer["probabilities"].numpy()[0].tolist() for answer in one_by_one],
    "label": [label.decode() for label in once["label"].numpy()],
}))
"""


def export(model: Classifier | str | Path, folder: str | Path) -> Path:
    """Writes `model` as a SavedModel and proves that it answers as the model does.

    Endpoints: `serve` (also `serving_default`) takes a string tensor [n] of encoded images,
    `serve_pixels` a float32 tensor [n, height, width, channels], 0..255. Both return `label`
    string [n], `probability` float32 [n], `probabilities` float32 [n, classes] in the order of
    `assets.extra/labels.txt`, `top_labels` and `top_probabilities` [n, at most 5].

    Args:
        model: A classifier, or the folder of a run.
        folder: An earlier export there is replaced once the new one is proven; anything else
            in the way is an error.

    Raises:
        ParityError: The SavedModel does not agree with `Classifier.predict`.
        TlkitError: `folder` holds something that is not an export.
    """
    model = model if isinstance(model, Classifier) else Classifier.load(model)
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()) and not (folder / FACTS).exists():
        raise TlkitError(f"{folder} is not empty and holds no tlkit export. Choose another folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        fresh = Path(scratch) / "model"
        _write(model, fresh)
        parity = _prove(model, fresh)
        files.write_json(fresh / FACTS, _facts(model, parity))
        put_in_place(fresh, folder, Path(scratch) / "old")
    return folder


def _write(model: Classifier, folder: Path) -> None:
    archive = keras.export.ExportArchive()
    archive.track(model.keras_model)
    encoded = [tf.TensorSpec([None], tf.string, name="images")]
    raw = [tf.TensorSpec([None, None, None, model.rule.channels], tf.float32, name="pixels")]
    if model.rule.channels in pixels.CHANNELS:
        archive.add_endpoint("serve", _endpoint(model, pixels.decode), input_signature=encoded)
    archive.add_endpoint("serve_pixels", _endpoint(model, pixels.fit), input_signature=raw)
    # Nothing here needs AutoGraph, which leaves a file of generated code in the temporary folder.
    tf.autograph.experimental.do_not_convert(archive.write_out)(str(folder), verbose=False)
    extra = folder / "assets.extra"
    extra.mkdir()
    files.write_text(extra / "labels.txt", "".join(f"{name}\n" for name in model.class_names))


def _endpoint(model: Classifier, prepare):
    """Returns the function of one endpoint: prepare every image under the rule, then answer."""
    rule, side = model.rule, model.rule.size
    spec = tf.TensorSpec([side, side, rule.channels], tf.uint8)
    names = tf.constant(model.class_names)
    top = min(TOP, len(model.class_names))

    def serve(images):
        rows = tf.map_fn(lambda one: prepare(one, rule), images, fn_output_signature=spec)
        logits = model.keras_model(tf.cast(rows, tf.float32), training=False)
        probabilities = tf.nn.softmax(logits / model.temperature)
        best, place = tf.math.top_k(probabilities, top)
        return {
            "label": tf.gather(names, place[:, 0]),
            "probability": best[:, 0],
            "probabilities": probabilities,
            "top_labels": tf.gather(names, place),
            "top_probabilities": best,
        }

    return serve


def _facts(model: Classifier, parity: dict[str, Any]) -> dict[str, Any]:
    return {
        "format": 1,
        "class_names": list(model.class_names),
        "rule": dataclasses.asdict(model.rule),
        "temperature": model.temperature,
        "backbone": model.backbone.name,
        "parity": parity,
    }


def _prove(model: Classifier, folder: Path) -> dict[str, Any]:
    """Returns how far the SavedModel in a fresh process is from `predict`, on how many images."""
    if model.rule.channels not in pixels.CHANNELS:
        return _prove_pixels(model, folder)
    with tempfile.TemporaryDirectory() as scratch:
        paths = []
        for name, data in _pictures(model.rule).items():
            paths.append(str(Path(scratch) / name))
            Path(paths[-1]).write_bytes(data)
        expected = model.predict(paths)
        answer = _ask(folder, paths)
    served = np.array([answer["probabilities"], answer["alone"]])
    difference = float(np.abs(served - expected).max())
    labels = [model.class_names[i] for i in served[0].argmax(-1)]
    if not difference <= TOLERANCE or answer["label"] != labels:
        raise ParityError(
            f"The SavedModel and the model differ by up to {difference:.2g} in a probability (at "
            f"most {TOLERANCE:g} is allowed). Nothing was exported. Is something random or "
            "training-only in the network?"
        )
    return {"images": len(paths), "largest_difference": difference}


def _prove_pixels(model: Classifier, folder: Path) -> dict[str, Any]:
    side, channels = model.rule.size, model.rule.channels
    rows = np.random.default_rng(0).integers(0, 256, (4, side, side, channels)).astype(np.uint8)
    loaded = tf.saved_model.load(str(folder))
    served = loaded.serve_pixels(tf.constant(rows, tf.float32))["probabilities"].numpy()
    difference = float(np.abs(served - model.predict(rows)).max())
    if not difference <= TOLERANCE:
        raise ParityError(f"The SavedModel and the model differ by {difference:.2g}.")
    return {"images": len(rows), "largest_difference": difference}


def _ask(folder: Path, paths: list[str]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", _CHECK, str(folder)],
        input=json.dumps(paths),
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        check=False,
    )
    if done.returncode:
        raise ParityError(f"A fresh process cannot use the SavedModel:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _pictures(rule: pixels.PixelRule) -> dict[str, bytes]:
    """Returns small pictures of every kind the endpoint reads, larger and smaller than its size."""
    noise = np.random.default_rng(7)
    turned = Image.Exif()
    turned[0x0112] = 6
    kinds: dict[str, tuple[str, float, dict[str, Any]]] = {
        "photo.jpg": ("RGB", 2.3, {"quality": 85}),
        "turned.jpg": ("RGB", 1.4, {"quality": 85, "exif": turned}),
        "gray.jpg": ("L", 1.1, {}),
        "small.png": ("RGB", 0.5, {}),
        "see_through.png": ("RGBA", 1.0, {}),
        "palette.gif": ("P", 1.7, {}),
        "web.webp": ("RGB", 1.2, {"lossless": True}),
        "plain.bmp": ("RGB", 0.8, {}),
    }
    made = {}
    for name, (mode, scale, options) in kinds.items():
        side = max(int(rule.size * scale), 8)
        coarse = noise.integers(0, 256, (7, 9, 4)).astype(np.uint8)
        picture = Image.fromarray(coarse).resize((side * 4 // 3, side), Image.Resampling.BICUBIC)
        out = io.BytesIO()
        mode_rgb = picture if mode == "RGBA" else picture.convert("RGB").convert(mode)
        mode_rgb.save(out, {"jpg": "JPEG"}.get(name[-3:], name.rpartition(".")[2]), **options)
        made[name] = out.getvalue()
    return made


def put_in_place(fresh: Path, folder: Path, old: Path) -> None:
    """Renames `fresh` to `folder`; what was there is `old` then, and back where that fails.

    Each folder is renamed as a whole, so what stands at `folder` is never a mixture of the two.
    """
    replaces = folder.exists()
    if replaces:
        os.replace(folder, old)
    try:
        os.replace(fresh, folder)
    except BaseException:
        if replaces:
            os.replace(old, folder)
        raise
