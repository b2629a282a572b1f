"""Shared fixtures: a private cache, fixed seeds, a tiny backbone and tiny pictures."""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")

from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

# Property tests draw the same examples on every run; HYPOTHESIS_PROFILE=explore draws new ones.
settings.register_profile("same", derandomize=True)
settings.register_profile("explore")
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


@pytest.fixture(autouse=True)
def private_home(tmp_path_factory, monkeypatch):
    """Every test has its own cache, so that none is served another's rows."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("TLKIT_HOME", str(home))
    return home


@pytest.fixture(scope="session", autouse=True)
def no_generated_files():
    """AutoGraph deletes its files of code at the interpreter's regular end, which may not come."""
    yield
    for name, module in list(sys.modules.items()):
        if name.startswith("__autograph_generated_file"):
            Path(str(module.__file__)).unlink(missing_ok=True)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real weights and photos; tests that need it are marked `weights`."""
    folder = os.environ.get("TLKIT_SHARED")
    if not folder:
        pytest.skip("TLKIT_SHARED does not name a folder with real weights and photos")
    return Path(folder)


def tiny_backbone(seed: int = 0, size: int = 32):
    """Returns three stages of convolution, BatchNorm and ReLU, with some real statistics."""
    import keras

    from tlkit.backbones.backbone import Backbone, Stage
    from tlkit.backbones.preprocess import Preprocess

    keras.utils.set_random_seed(seed)
    inputs = x = keras.Input((size, size, 3))
    for i, filters in enumerate((8, 12, 16), 1):
        x = keras.layers.Conv2D(
            filters, 3, strides=2, padding="same", use_bias=False, name=f"conv{i}"
        )(x)
        x = keras.layers.BatchNormalization(name=f"norm{i}")(x)
        x = keras.layers.ReLU(name=f"relu{i}")(x)
    net = keras.Model(inputs, x, name="tiny")
    draw = np.random.default_rng(seed)
    for layer in net.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(draw.normal(0, 0.1, layer.moving_mean.shape))
            layer.moving_variance.assign(draw.uniform(0.05, 0.2, layer.moving_variance.shape))
    stages = tuple(Stage(f"stage{i}", f"relu{i}") for i in (1, 2, 3))
    return Backbone(
        "tiny", net, Preprocess("tf", 3, name="preprocess"), stages, size, 3, "test values"
    )


def write_pictures(folder: Path, count: int, seed: int = 0, classes=("blue", "green", "red")):
    """Writes `count` noisy PNG pictures of each class; the class is the brighter channel."""
    draw = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = draw.integers(0, 150, (36, 40, 3))
            pixels[..., ("red", "green", "blue").index(name)] += 60
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{seed}_{i}.png")
    return folder


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """A folder of 3 x 40 tiny pictures."""
    return write_pictures(tmp_path_factory.mktemp("photos"), 40)


@pytest.fixture
def data(photos):
    """The photos, checked and split."""
    from tlkit.images.dataset import load_images

    return load_images(photos)


UNSORTED = ("red", "blue", "green")  # a label map sorted by mistake shows with these names


@pytest.fixture
def unsorted_data(photos):
    """The photos as arrays, with their classes in an order that is not the alphabet's."""
    from tlkit.images.dataset import load_images

    paths = [sorted((photos / name).iterdir()) for name in UNSORTED]
    pixels = np.stack([np.asarray(Image.open(path)) for group in paths for path in group])
    return load_images((pixels, np.repeat(np.arange(3), len(paths[0])), UNSORTED))


@pytest.fixture
def classifier(data):
    """A classifier on the tiny backbone."""
    from tlkit.models.classifier import Classifier

    return Classifier(tiny_backbone(), data.class_names)
