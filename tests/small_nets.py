"""A net of a few layers, with values no initialiser draws, in every format of Keras."""

import h5py
import keras
import numpy as np
from keras import layers
from keras.src.legacy.saving import legacy_h5_format

FORMATS = ["w.weights.h5", "w.keras", "w.h5"]


def tiny(*, filters=4, depth=2, top=False, normalized=False, channels=3):
    x = inputs = keras.Input((8, 8, channels), name="image")
    if normalized:
        x = layers.Normalization(name="normalization")(x)
    for i in range(depth):
        x = layers.Conv2D(filters, 3, padding="same", name=f"conv{i}")(x)
        x = layers.BatchNormalization(name=f"bn{i}")(x)
        x = layers.ReLU(name=f"relu{i}")(x)
        x = layers.Dropout(0.1, name=f"drop{i}")(x)  # has a random generator among its variables
    if top:
        x = layers.GlobalAveragePooling2D(name="pool")(x)
        x = layers.Dense(7, name="logits")(x)
    return keras.Model(inputs, x, name="tiny")


def scrambled(net, seed=0):
    """Gives every variable values that no initialiser draws."""
    rng = np.random.default_rng(seed)
    net.set_weights([rng.uniform(1, 2, v.shape).astype("float32") for v in net.weights])
    return net


def save(net, path):
    """Saves in the format that the name asks for; `.h5` is Keras 2's file of weights."""
    if path.name.endswith(".weights.h5"):
        net.save_weights(path)
    elif path.suffix == ".keras":
        net.save(path)
    else:
        with h5py.File(path, "w") as file:
            legacy_h5_format.save_weights_to_hdf5_group(file, net)
    return path


def values(net):
    return net.get_weights()


def assert_same(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
