"""The pretrained backbones as built: their stages, their pixels, their files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.saving import legacy_h5_format
from keras.src.utils import file_utils

from tests.backbone_helpers import assert_close, pixels, run, scramble
from tlkit.backbones import loading, surgery, table
from tlkit.backbones.preprocess import Preprocess
from tlkit.backbones.table import TABLE
from tlkit.backbones.weights import fingerprint
from tlkit.errors import TlkitError

SMALL = (
    "mobilenet mobilenet_v2 mobilenet_v3_small mobilenet_v3_large mobilenet_0.25 mobilenet_v2_0.35 "
    "resnet50 resnet50_v2 efficientnet_b0 efficientnet_v2_b0 densenet121 nasnet_mobile vgg16 "
    "xception inception_v3 convnext_tiny"
).split()
LARGE = [pytest.param(n, marks=pytest.mark.large) for n in TABLE if n not in SMALL]
every_backbone = pytest.mark.parametrize("name", [*SMALL, *LARGE])


@every_backbone
def test_contract(name):
    row = TABLE[name]
    net = loading.build_network(row, 96, 3)
    assert net.count_params() + row.inside == row.parameters
    assert net.output.shape[-1] == row.feature_channels

    boundaries = [boundary for _, boundary in row.stages]
    assert set(boundaries) <= set(surgery.clean_cuts(net))
    assert boundaries[-1] == net.operations[-1].name
    sizes = [surgery.tensor_at(net, boundary).shape[1] for boundary in boundaries]
    assert sizes == sorted(sizes, reverse=True)

    parts = surgery.segments(net, boundaries)
    held = [
        id(v)
        for part in parts
        for layer in surgery.layers_with_weights(part)
        for v in layer.weights
    ]
    assert sorted(held) == sorted(id(v) for v in net.weights), "each variable in one stage"
    assert all(surgery.layers_with_weights(part) for part in parts)


def test_every_network_of_keras_is_in_the_table():
    constructors = {n for n in dir(keras.applications) if n[0].isupper()}
    assert constructors == {row.constructor for row in TABLE.values()}
    assert len(constructors) == 40


def test_default_sizes_are_published():
    sizes = {"efficientnet_b4": 380, "nasnet_large": 331, "xception": 299, "resnet50": 224}
    assert {name: TABLE[name].size for name in sizes} == sizes


@pytest.mark.parametrize(
    "name",
    [
        "mobilenet_v2",
        *(pytest.param(n, marks=pytest.mark.large) for n in SMALL if n != "mobilenet_v2"),
    ],
)
def test_halves_at_stages_are_bit_equal(name):
    row = TABLE[name]
    size = 96 if row.size == 299 else 32
    net = loading.build_network(row, size, 3)
    scramble(net)
    x = pixels(size) / 255
    for _, boundary in row.stages:
        stem, tail = surgery.split(net, boundary)
        np.testing.assert_array_equal(tail(stem(x)), net(x), err_msg=boundary)


# The pixels that each network was trained on: compared with Keras's own in-model preprocessing.


def stem_answer(net, images):
    """The output of the first layer with weights, where a wrong pixel still shows."""
    first = surgery.layers_with_weights(net.operations)
    first = next(x for x in first if not isinstance(x, keras.layers.Normalization))
    return keras.Model(net.input, surgery.tensor_at(net, first.name))(images, training=False)


def assert_same_stem(row, ours, theirs):
    """All weights are equal and the first layer sees equal pixels; so the networks are equal."""
    assert [v.shape for v in ours.weights] == [v.shape for v in theirs.weights][
        -len(ours.weights) :
    ]
    layer = Preprocess(row.preprocessing, 3)
    assert_close(stem_answer(ours, layer(pixels(32))), stem_answer(theirs, pixels(32)))


SWITCHED = [n for n, row in TABLE.items() if ("include_preprocessing", False) in row.arguments]
FEW = ("mobilenet_v3_small", "convnext_tiny", "efficientnet_v2_b0")


@pytest.mark.parametrize(
    "name", [*FEW, *(pytest.param(n, marks=pytest.mark.large) for n in SWITCHED if n not in FEW)]
)
def test_preprocessing_equals_that_inside_the_model(name):
    row = TABLE[name]
    ours = loading.build_network(row, 32, 3)
    inside = {**dict(row.arguments), "include_preprocessing": True}
    theirs = getattr(keras.applications, row.constructor)(
        include_top=False, weights=None, input_shape=(32, 32, 3), **inside
    )
    theirs.set_weights(ours.get_weights())
    assert_same_stem(row, ours, theirs)


def test_official_efficientnet_file(tmp_path, monkeypatch):
    """Keras builds EfficientNet with one more layer for ImageNet weights; we must equal that."""
    row = TABLE["efficientnet_b0"]
    source = keras.applications.EfficientNetB0(
        include_top=False, weights=None, input_shape=(32, 32, 3)
    )
    scramble(source)
    normalization = next(x for x in source.layers if isinstance(x, keras.layers.Normalization))
    statistics = [np.array(v) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 0)]
    normalization.set_weights(statistics)
    path = tmp_path / "efficientnetb0_notop.h5"
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, source)
    monkeypatch.setattr(file_utils, "get_file", lambda *args, **kwargs: str(path))
    theirs = keras.applications.EfficientNetB0(
        include_top=False, weights="imagenet", input_shape=(32, 32, 3)
    )
    ours = loading.load(row.name, size=32, weights=str(path)).net
    for a, b in zip(ours.weights, theirs.weights[3:], strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)
    assert_same_stem(row, ours, theirs)


# Loading


def test_names_do_not_depend_on_what_was_built_before():
    row = TABLE["mobilenet_v3_small"]
    first = loading.build_network(row, 32, 3)
    mine = keras.layers.Dense(1).name
    second = loading.build_network(row, 32, 3)
    assert [op.name for op in first.operations] == [op.name for op in second.operations]
    assert [v.path for v in first.variables] == [v.path for v in second.variables]
    assert keras.layers.Dense(1).name not in (mine, "dense"), "the user's counters must go on"


def test_loaded_backbone_says_what_it_is():
    b = loading.load("MobileNet-v1_0.25", size=64, weights="none", seed=3)
    assert (b.name, b.size, b.channels) == ("mobilenet_0.25", 64, 3)
    assert b.net.input_shape == (None, 64, 64, 3) and b.net.output_shape == (None, 2, 2, 256)
    assert b.weights.startswith("random, seed 3, ")
    assert [s.name for s in b.stages] == ["stage1", "stage2", "stage3", "stage4", "stage5"]
    assert b.weights != loading.load("mobilenet_0.25", size=64, weights="none").weights


@pytest.mark.parametrize(
    "name", ["vgg16", "mobilenet_0.25", pytest.param("densenet121", marks=pytest.mark.large)]
)
def test_gray_pictures_get_the_answer_of_rgb(name, tmp_path):
    """One family for each way of preprocessing: with three means, with one, with deviations."""
    colour = loading.load(name, size=32, weights="none")
    colour.net.save_weights(tmp_path / "w.weights.h5")
    gray = loading.load(name, size=32, channels=1, weights=str(tmp_path / "w.weights.h5"))
    x = pixels(32, channels=1)
    assert_close(run(gray, x), run(colour, np.repeat(x, 3, axis=-1)))
    assert gray.channels == 1


def test_four_channels_inflate_the_stem(tmp_path):
    colour = loading.load("mobilenet_0.25", size=32, weights="none")
    colour.net.save_weights(tmp_path / "w.weights.h5")
    path = str(tmp_path / "w.weights.h5")
    four = loading.load("mobilenet_0.25", size=32, channels=4, weights=path)
    assert four.net.input_shape == (None, 32, 32, 4)
    assert four.weights.endswith(", inflated to 4 channels")
    for a, b in zip(four.net.get_weights()[1:], colour.net.get_weights()[1:], strict=True):
        np.testing.assert_array_equal(a, b)
    four.net.save_weights(tmp_path / "four.weights.h5")
    path = str(tmp_path / "four.weights.h5")
    again = loading.load("mobilenet_0.25", size=32, channels=4, weights=path)
    assert again.weights == f"file four.weights.h5, {fingerprint(four.net.weights)}"
    x = pixels(32, channels=1)
    assert_close(run(four, np.repeat(x, 4, axis=-1)), run(colour, np.repeat(x, 3, axis=-1)))


def test_weights_of_another_network_name_the_layer(tmp_path):
    other = loading.load("mobilenet_0.25", size=32, weights="none")
    other.net.save_weights(tmp_path / "w.weights.h5")
    with pytest.raises(TlkitError, match=r"w\.weights\.h5 does not fit mobilenet: layer 'conv1'"):
        loading.load("mobilenet", size=32, weights=str(tmp_path / "w.weights.h5"))


@pytest.mark.parametrize("size", [96, 224])
def test_the_file_of_the_size_is_downloaded_and_read(size, tmp_path, monkeypatch):
    """What Keras is asked for must be what is looked for afterwards; there is one for each size."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    source = scrambled_narrow()
    asked = []

    def get_file(fname, origin, **kwargs):
        asked.append(fname)
        path = tmp_path / "models" / fname
        path.parent.mkdir(exist_ok=True)
        with h5py.File(path, "w") as file:
            legacy_h5_format.save_weights_to_hdf5_group(file, source)
        return str(path)

    monkeypatch.setattr(file_utils, "get_file", get_file)
    found = loading.load("mobilenet_v2_0.35", size=size)
    file = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_{size}_no_top.h5"
    assert asked == [file]
    assert found.weights == f"imagenet {file}, {fingerprint(source.weights)}"


def scrambled_narrow():
    net = loading.build_network(TABLE["mobilenet_v2_0.35"], 96, 3)
    scramble(net)
    return net


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet50"])
def test_imagenet_without_network(name, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))

    def get_file(fname, origin, **kwargs):
        raise Exception(f"URL fetch failure on {origin}: None -- [Errno -2] unknown host")

    monkeypatch.setattr(file_utils, "get_file", get_file)
    with pytest.raises(TlkitError, match="could not be downloaded") as error:
        loading.load(name, size=96)
    assert f"{name}_weights_tf_dim_ordering_tf_kernels" in str(error.value)


def test_planted_resnet_file_under_the_official_name_survives(tmp_path, monkeypatch):
    """Keras would try to download, and delete the user's file when that fails."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    path = tmp_path / "models" / "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
    path.parent.mkdir()
    path.write_bytes(b"my own weights")
    with pytest.raises(TlkitError, match="expected 4d473c1dd8becc155b73f8504c6f6626, found"):
        loading.load("resnet50", size=64)
    assert path.read_bytes() == b"my own weights"


def test_too_small_a_size_is_explained():
    with pytest.raises(TlkitError, match=r"xception cannot be built for 32 pixels: .*at least 71"):
        loading.load("xception", size=32, weights="none")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("MobileNetV2", "mobilenet_v2"),
        ("mobilenet_v2_1.0", "mobilenet_v2"),
        ("mobilenet_v1_0.75", "mobilenet_0.75"),
        ("EfficientNetV2B0", "efficientnet_v2_b0"),
        ("ResNet-50", "resnet50"),
        ("resnet50v2", "resnet50_v2"),
        ("InceptionResNetV2", "inception_resnet_v2"),
        ("ConvNeXt Tiny", "convnext_tiny"),
    ],
)
def test_spellings(typed, meant):
    assert table.spec(typed).name == meant


def test_spellings_never_clash():
    assert all(table.spec(row.constructor).constructor == row.constructor for row in TABLE.values())
    assert all(table.spec(name).name == name for name in TABLE)


@pytest.mark.parametrize("ask", [table.spec, lambda name: loading.load(name, weights="none")])
def test_unknown_names_get_a_suggestion(ask):
    with pytest.raises(
        TlkitError, match=r"Unknown backbone 'mobilnet_v2'\. Did you mean 'mobilenet_v2'"
    ):
        ask("mobilnet_v2")


def test_listing_needs_no_keras():
    code = (
        "import sys, json; from tlkit.backbones import table; print(json.dumps(table.describe()));"
        "assert not {'keras', 'tensorflow', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    rows = json.loads(done.stdout)
    assert [row["name"] for row in rows] == sorted(TABLE) == table.names()
    v2 = next(row for row in rows if row["name"] == "mobilenet_v2")
    assert v2 == {
        "name": "mobilenet_v2",
        "parameters": 2_257_984,
        "size": 224,
        "preprocessing": "tf",
        "stages": ["stage1", "stage2", "stage3", "stage4", "stage5"],
        "feature_channels": 1280,
    }


# Real weights


def shared():
    if not os.environ.get("TLKIT_SHARED"):
        pytest.skip("set TLKIT_SHARED to the folder with weights/ and data/")
    return Path(os.environ["TLKIT_SHARED"]) / "weights"


@pytest.mark.weights
def test_real_mobilenet_v2_with_and_without_top():
    notop = loading.load(
        "mobilenet_v2", size=96, weights=str(shared() / "mobilenet_v2_1.0_224_notop.weights.h5")
    )
    top = loading.load(
        "mobilenet_v2", size=96, weights=str(shared() / "mobilenet_v2_1.0_224.weights.h5")
    )
    for a, b in zip(notop.net.weights, top.net.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)
    assert notop.weights.split(", ")[1] == top.weights.split(", ")[1]


@pytest.mark.weights
def test_real_squeezenet_is_a_classic_net():
    path = shared() / "squeezenet_v1.1_notop.weights.h5"
    b = loading.load("squeezenet-1.1", size=64, weights=str(path))
    assert b.preprocess.kind == "caffe"
    with h5py.File(path) as file:
        for key, layer in (("conv2d", "conv1"), ("conv2d_24", "fire9_expand3")):
            np.testing.assert_array_equal(
                b.net.get_layer(layer).kernel, file[f"layers/{key}/vars/0"], err_msg=layer
            )


@pytest.mark.weights
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mobilenet_v2", "mobilenet_v2_1.0_224_notop"),
        ("mobilenet_v2_0.35", "mobilenet_v2_0.35_224_notop"),
        ("mobilenet_0.75", "mobilenet_v1_0.75_224_notop"),
        ("mobilenet_0.25", "mobilenet_v1_0.25_128_notop"),
    ],
)
def test_real_weights_equal_keras_own_loading(name, file):
    path = shared() / f"{file}.weights.h5"
    ours = loading.load(name, size=64, weights=str(path))
    row = TABLE[name]
    theirs = getattr(keras.applications, row.constructor)(
        include_top=False, weights=None, input_shape=(64, 64, 3), **dict(row.arguments)
    )
    theirs.load_weights(path)
    np.testing.assert_array_equal(
        run(ours, pixels(64)), theirs(pixels(64) / 127.5 - 1, training=False)
    )
