"""Pictures, values and comparisons for tests of backbones."""

import numpy as np


def pixels(size, channels=3, count=2):
    rng = np.random.default_rng(0)
    return rng.uniform(0, 255, (count, size, size, channels)).astype("float32")


def scramble(net):
    """Values that keep activations alive, moving statistics included, unlike any default."""
    rng = np.random.default_rng(0)
    for variable in net.weights:
        noise = rng.normal(size=variable.shape).astype("float32")
        start = variable.numpy()
        if "variance" in variable.path or "gamma" in variable.path:
            variable.assign(np.abs(start + 0.1 * noise) + 0.1)
        else:
            variable.assign(start + 0.02 * noise)


def assert_close(found, expected):
    """Equal up to float32 rounding, relative to the size of the values."""
    found, expected = np.asarray(found), np.asarray(expected)
    scale = np.abs(expected).max()
    assert scale > 0 and np.abs(expected - expected[:1, :1, :1]).max() > 1e-3 * scale
    np.testing.assert_allclose(found / scale, expected / scale, atol=2e-4)


def run(backbone, images):
    return backbone.net(backbone.preprocess(images), training=False)
