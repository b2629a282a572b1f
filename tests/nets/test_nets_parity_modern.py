"""The nets that keras.applications has too, with the same random weights and statistics: equal
outputs, bit for bit. Equal counts would not tell SAME padding from zeros.

Every net is compared layer by layer with its drawing in each run (test_nets_published_*); what is
computed here shows that equal drawings are equal nets."""

import keras
import numpy as np
import pytest
from keras import applications

from tests import published
from tests.published import graph, keras_graph
from tlkit import nets

large = pytest.mark.large

# name of ours, of theirs, size: odd and even ones, so that each padding rule shows
TABLE = [
    pytest.param("vgg-d", "VGG16", 64, marks=large),
    pytest.param("vgg-d", "VGG16", 75, marks=large),
    pytest.param("vgg-e", "VGG19", 64, marks=large),
    pytest.param("resnet-50-keras", "ResNet50", 64, marks=large),
    pytest.param("resnet-50-keras", "ResNet50", 75, marks=large),
    pytest.param("resnet-101-keras", "ResNet101", 64, marks=large),
    pytest.param("resnet-152-keras", "ResNet152", 64, marks=large),
    ("resnet-50-v2", "ResNet50V2", 64),
    pytest.param("resnet-50-v2", "ResNet50V2", 75, marks=large),
    pytest.param("resnet-101-v2", "ResNet101V2", 64, marks=large),
    pytest.param("resnet-152-v2", "ResNet152V2", 64, marks=large),
    pytest.param("densenet-121", "DenseNet121", 64, marks=large),
    pytest.param("densenet-169", "DenseNet169", 64, marks=large),
    pytest.param("densenet-201", "DenseNet201", 75, marks=large),
    pytest.param("inception-v3", "InceptionV3", 75, marks=large),
    pytest.param("inception-v3", "InceptionV3", 128, marks=large),
    pytest.param("inception-resnet-v2", "InceptionResNetV2", 75, marks=large),
    pytest.param("inception-resnet-v2", "InceptionResNetV2", 128, marks=large),
    ("mobilenet-v1", "MobileNet", 64),
    pytest.param("mobilenet-v1", "MobileNet", 75, marks=large),
    pytest.param("mobilenet-v2", "MobileNetV2", 64, marks=large),
    pytest.param("mobilenet-v2", "MobileNetV2", 75, marks=large),
    pytest.param("nasnet-mobile", "NASNetMobile", 64, marks=large),
    pytest.param("nasnet-mobile", "NASNetMobile", 75, marks=large),
    pytest.param("nasnet-large", "NASNetLarge", 75, marks=large),
]


def _values(row):
    return getattr(row, "values", row)


@pytest.mark.parametrize(("ours", "theirs", "size"), TABLE)
def test_outputs_are_bit_equal_to_keras_applications(ours, theirs, size):
    shape = (size, size, 3)
    known = getattr(applications, theirs)(
        weights=None, input_shape=shape, classes=7, classifier_activation=None
    )
    net = nets.build(ours, input_shape=shape, classes=7, init="zeros")
    _randomise(known)
    _copy(known, net)
    images = np.random.default_rng(1).normal(size=(2, *shape)).astype("float32")
    want, got = (np.asarray(model(images, training=False)) for model in (known, net))
    assert want.std() > 1e-3 and np.isfinite(want).all()
    np.testing.assert_array_equal(got, want)


@large
@pytest.mark.parametrize(
    ("ours", "theirs"), sorted({(row[0], row[1]) for row in map(_values, TABLE)})
)
def test_drawings_are_those_of_keras_applications(ours, theirs):
    """The drawings in tests/published are read off papers; Keras's own graphs say the same."""
    shape = nets.info(ours).input_shape
    model = getattr(applications, theirs)(weights=None, include_top=False, input_shape=shape)
    stages, _ = published.drawn(published.NETS[ours]())
    nodes = keras_graph.read(model)
    drawn = list(stages.values())[-1]
    assert graph.listing(*keras_graph.ends(model, nodes)) == graph.listing(drawn)


def _randomise(model):
    """Weights that keep the size of the signal, and statistics, gammas and betas of all kinds."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        shape, kind = weight.shape, weight.path.rsplit("/", 1)[-1]
        if kind in ("moving_variance", "gamma"):
            value = rng.uniform(0.5, 1.5, shape)
        elif kind in ("moving_mean", "beta", "bias"):
            value = rng.normal(0, 0.1, shape)
        else:
            inputs = np.prod(shape[:2] if _is_depthwise(weight) else shape[:-1])
            value = rng.normal(0, (2 / inputs) ** 0.5, shape)
        weight.assign(value)


def _is_depthwise(weight):
    return len(weight.shape) == 4 and ("depthwise" in weight.path or weight.shape[-1] == 1)


def _copy(source, target):
    """Pairs the layers in graph order. A wrong pair of equal shapes would show in the outputs."""
    ours, theirs = (_weighted(model) for model in (target, source))
    assert len(ours) == len(theirs)
    for own, other in zip(ours, theirs, strict=True):
        assert [w.shape for w in own.weights] == [w.shape for w in other.weights], own.name
        own.set_weights(other.get_weights())


def _weighted(model):
    return [layer for layer in model.layers if layer.weights]


@large
def test_a_changed_padding_shows_although_every_count_stays():
    """The comparison above can fail: v1.5 has the shapes of v1 and other outputs."""
    shape = (64, 64, 3)
    plain, moved = (
        nets.build(name, input_shape=shape, classes=7) for name in ("resnet-50", "resnet-50-v1.5")
    )
    moved.set_weights(plain.get_weights())
    image = np.ones((1, *shape), "float32")
    difference = np.abs(plain(image, training=False) - moved(image, training=False))
    assert isinstance(plain, keras.Model) and difference.max() > 1e-3
