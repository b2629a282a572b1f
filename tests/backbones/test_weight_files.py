"""Files of weights: every format, what may be on top, and what is refused with nothing changed."""

import zipfile

import h5py
import keras
import numpy as np
import pytest
from keras import layers
from keras.src.legacy.saving import legacy_h5_format

from tests.small_nets import FORMATS, assert_same, save, scrambled, tiny, values
from tlkit.backbones.weights import fingerprint, load_weights
from tlkit.errors import TlkitError
from tlkit.layers import WeightNormalization

each_format = pytest.mark.parametrize("name", FORMATS)


@each_format
@pytest.mark.parametrize("top", [False, True], ids=["notop", "top"])
def test_every_format_with_and_without_top(tmp_path, name, top):
    source = scrambled(tiny(top=top))
    net = tiny()
    origin = load_weights(net, save(source, tmp_path / name))
    assert_same(values(net), values(source)[: len(net.weights)])
    assert origin == f"file {name}, {fingerprint(net.weights)}"


@pytest.mark.parametrize("name", FORMATS[:2])
def test_network_inside_a_classifier_is_found(tmp_path, name):
    base = scrambled(tiny())
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(3, 1)(inputs)  # shifts the counters outside, not inside
    classifier = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(base(x))))
    classifier.compile("adam", "mse", run_eagerly=True)
    classifier.fit(np.ones((2, 8, 8, 3)), np.ones((2, 2)), verbose=0)
    net = tiny()
    load_weights(net, save(classifier, tmp_path / name))
    assert_same(values(net), values(base))


def test_a_whole_model_file_of_keras_2(tmp_path):
    source = scrambled(tiny(top=True))
    with h5py.File(tmp_path / "model.h5", "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file.create_group("model_weights"), source)
    net = tiny()
    load_weights(net, tmp_path / "model.h5")
    assert_same(values(net), values(source)[: len(net.weights)])


@each_format
@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"filters": 6}, r"does not fit tiny: layer 'conv0' needs .*4.*, the file holds .*6"),
        ({"depth": 1}, r"does not fit tiny: layer 'conv1' needs .*, the file holds nothing"),
        ({"depth": 3}, r"deeper network than tiny: it goes on with layer '.*conv"),
    ],
    ids=["width", "shallower", "deeper"],
)
def test_another_network_is_refused_and_nothing_changes(tmp_path, name, other, message):
    path = save(scrambled(tiny(**other)), tmp_path / name)
    net = tiny()
    before = values(net)
    with pytest.raises(TlkitError, match=message):
        load_weights(net, path)
    assert_same(values(net), before)


@each_format
def test_statistics_of_imagenet_are_dropped_and_others_refused(tmp_path, name):
    source = scrambled(tiny(normalized=True))
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    for variance in (std, std**2):
        source.get_layer("normalization").set_weights([mean, variance, np.array(0)])
        net = tiny()
        load_weights(net, save(source, tmp_path / name))
        assert_same(values(net), values(source)[3:])
    source.get_layer("normalization").set_weights([mean * 0, std * 0 + 1, np.array(0)])
    with pytest.raises(TlkitError, match=r"trained on pixels with mean .*'normalization"):
        load_weights(net, save(source, tmp_path / name))


@each_format
def test_truncated_file_is_named(tmp_path, name):
    path = save(tiny(), tmp_path / name)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(TlkitError, match=f"{name} cannot be read as Keras weights"):
        load_weights(tiny(), path)


def test_damage_inside_an_intact_frame_is_named(tmp_path):
    path = save(tiny(), tmp_path / "w.h5")
    with h5py.File(path, "r+") as file:
        del file["bn1"]
    with pytest.raises(TlkitError, match=r"w\.h5 cannot be read as Keras weights"):
        load_weights(tiny(), path)


def test_keras_2_file_of_a_nested_model_gets_a_short_error(tmp_path):
    inputs = keras.Input((8, 8, 3))
    nested = keras.Model(inputs, layers.Flatten()(tiny()(inputs)))
    with pytest.raises(TlkitError, match=r"the file holds 12 arrays \(\(3, 3, 3, 4\), \.\.\.\)"):
        load_weights(tiny(), save(nested, tmp_path / "w.h5"))


def test_a_zip_of_something_else_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.keras", "w") as file:
        file.writestr("readme.txt", "hello")
    with pytest.raises(TlkitError, match=r"w\.keras cannot be read as Keras weights"):
        load_weights(tiny(), tmp_path / "w.keras")


def anonymous(depth=2):
    """`tiny` as another build would name it: by Keras's counters."""
    x = inputs = keras.Input((8, 8, 3))
    for _ in range(depth):
        x = layers.Conv2D(4, 3, padding="same")(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    return keras.Model(inputs, layers.Dropout(0.1)(x))


@each_format
def test_layers_are_found_by_their_order_not_by_their_names(tmp_path, name):
    source, net = scrambled(anonymous()), tiny()
    load_weights(net, save(source, tmp_path / name))
    assert_same(values(net), values(source))


@each_format
def test_a_classifier_of_1x1_convolutions_may_be_on_top(tmp_path, name):
    base = tiny()
    x = layers.GlobalAveragePooling2D(keepdims=True)(base.output)
    source = scrambled(keras.Model(base.input, layers.Conv2D(7, 1, name="preds")(x)))
    net = tiny()
    load_weights(net, save(source, tmp_path / name))
    assert_same(values(net), values(source)[: len(net.weights)])


@each_format
def test_a_net_that_differs_in_its_last_layer_only_changes_nothing(tmp_path, name):
    def with_last(size):
        base = tiny()
        last = layers.Conv2D(5, size, padding="same", name="last")(base.output)
        return keras.Model(base.input, last, name="tiny")

    path = save(scrambled(with_last(1)), tmp_path / name)
    net = scrambled(with_last(3), seed=1)
    before = values(net)
    with pytest.raises(TlkitError, match=r"does not fit tiny: layer 'last' needs .*3, 3, 4, 5"):
        load_weights(net, path)
    assert_same(values(net), before)


@pytest.mark.parametrize("name", FORMATS[:2])
def test_a_layer_inside_another_is_filled_too(tmp_path, name):
    def wrapped():
        x = inputs = keras.Input((8, 8, 3))
        for filters in (4, 4):
            x = WeightNormalization(layers.Conv2D(filters, 3))(x)
        return keras.Model(inputs, x)

    source, net = scrambled(wrapped()), wrapped()
    load_weights(net, save(source, tmp_path / name))
    assert_same(values(net), values(source))


@pytest.mark.parametrize("name", FORMATS[:2])
def test_of_several_networks_in_a_file_the_one_that_fits_is_taken(tmp_path, name):
    nets = [scrambled(tiny(filters=filters), seed=filters) for filters in (2, 4, 6)]
    inputs = keras.Input((8, 8, 3))
    parts = [keras.Model(x.input, x.output, name=f"part{i}") for i, x in enumerate(nets)]
    pooled = [layers.GlobalAveragePooling2D()(part(inputs)) for part in parts]
    whole = keras.Model(inputs, layers.Concatenate()(pooled))
    net = tiny()
    load_weights(net, save(whole, tmp_path / name))
    assert_same(values(net), values(nets[1]))


@each_format
@pytest.mark.parametrize("place", [0, 1], ids=["mean", "variance"])
def test_each_statistic_of_the_pixels_is_compared(tmp_path, name, place):
    source = scrambled(tiny(normalized=True))
    statistics = [np.array((0.485, 0.456, 0.406)), np.array((0.229, 0.224, 0.225)), np.array(0)]
    statistics[place] = statistics[place] + 0.01
    source.get_layer("normalization").set_weights(statistics)
    with pytest.raises(TlkitError, match="It would answer wrongly here"):
        load_weights(tiny(), save(source, tmp_path / name))


@each_format
def test_the_source_says_whose_values_they_are(tmp_path, name):
    first, second = (save(scrambled(tiny(), seed), tmp_path / f"{seed}{name}") for seed in (0, 1))
    origins = [load_weights(tiny(), path) for path in (first, second, first)]
    assert origins[0] == origins[2] != origins[1].replace("1w", "0w")
