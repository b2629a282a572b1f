"""Where weights come from: Keras's cache, its files, the seed; fingerprints and other channels."""

import os
import random
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras.src.utils import file_utils

from tests.small_nets import assert_same, save, scrambled, tiny, values
from tlkit.backbones import weights
from tlkit.backbones.imagenet import imagenet_file
from tlkit.backbones.table import TABLE
from tlkit.backbones.weights import Official, fingerprint, inflate, load_weights, reinitialise
from tlkit.errors import TlkitError

# ImageNet files and Keras's cache


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def test_a_missing_file_says_what_may_be_given():
    with pytest.raises(TlkitError, match="'imagnet' not found: give 'imagenet', 'none' or"):
        load_weights(tiny(), "imagnet")


def never():
    raise AssertionError("Keras must not be called when the file is there")


def offline():
    raise Exception("URL fetch failure on somewhere: None -- [Errno -2] Name or service not known")


def test_cached_imagenet_file_is_used(cache):
    source = scrambled(tiny())
    save(source, cache / "w.h5")
    net = tiny()
    assert load_weights(net, "imagenet", official=Official("w.h5", None, never)).startswith(
        "imagenet w.h5, "
    )
    assert_same(values(net), values(source))


@pytest.mark.parametrize("digest", ["0" * 32, "0" * 64], ids=["md5", "sha256"])
def test_file_with_a_wrong_digest_is_left_alone(cache, digest):
    content = save(tiny(), cache / "w.h5").read_bytes()
    with pytest.raises(TlkitError) as error:
        load_weights(tiny(), "imagenet", official=Official("w.h5", digest, never))
    assert str(cache / "w.h5") in str(error.value)
    assert f"expected {digest}, found " in str(error.value)
    assert "--weights FILE" in str(error.value)
    assert (cache / "w.h5").read_bytes() == content


def test_right_digests_pass(cache):
    (cache / "w.h5").write_bytes(b"abc")
    md5 = "900150983cd24fb0d6963f7d28e17f72"
    sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    for digest in (md5, sha256):
        assert weights.fetch(Official("w.h5", digest, never)) == cache / "w.h5"


@pytest.mark.parametrize(
    "error", [None, OSError("timed out"), ValueError("Incomplete or corrupted file detected.")]
)
def test_failed_download_says_which_file_to_put_where(cache, error):
    def download():
        if error:
            raise error
        offline()

    with pytest.raises(TlkitError) as caught:
        load_weights(tiny(), "imagenet", official=Official("w.h5", None, download))
    assert f"Put w.h5 into {cache}" in str(caught.value)
    assert "--weights FILE or --weights none" in str(caught.value)


def test_other_errors_of_keras_are_not_hidden(cache):
    def broken():
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        weights.fetch(Official("w.h5", None, broken))


def test_download_puts_the_file_where_we_look(cache):
    source = scrambled(tiny())
    net = tiny()
    official = Official("w.h5", None, lambda: save(source, cache / "w.h5"))
    load_weights(net, "imagenet", official=official)
    assert_same(values(net), values(source))


def test_what_was_downloaded_is_checked_too(cache):
    official = Official("w.h5", "0" * 32, lambda: save(tiny(), cache / "w.h5"))
    with pytest.raises(TlkitError, match="not the file that Keras published"):
        weights.fetch(official)
    assert (cache / "w.h5").exists()


def test_a_download_to_somewhere_else_is_told(cache):
    with pytest.raises(TlkitError, match=rf"but not to {cache}"):
        weights.fetch(Official("w.h5", None, lambda: None))


def test_the_cache_is_the_folder_that_the_environment_names(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert weights.keras_cache() == tmp_path / "models"
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    (tmp_path / "me").mkdir()
    assert weights.keras_cache() == tmp_path / "me" / ".keras" / "models"


def test_network_without_imagenet_weights_says_so():
    with pytest.raises(TlkitError, match="no ImageNet weights of tiny"):
        load_weights(tiny(), "imagenet")


def test_guard_cache_folder_is_that_of_keras():
    from keras.src.backend import config

    if os.environ.get("KERAS_HOME") in (None, config.keras_home()):
        assert weights.keras_cache() == Path(config.keras_home()).expanduser() / "models"


def recorded(row, size, monkeypatch):
    """What Keras itself asks for when it is told to load ImageNet weights."""

    class Asked(Exception):
        pass

    def get_file(fname, origin, **kwargs):
        raise Asked(fname, kwargs.get("file_hash"))

    monkeypatch.setattr(file_utils, "get_file", get_file)
    with pytest.raises(Asked) as asked:
        getattr(keras.applications, row.constructor)(
            include_top=False,
            weights="imagenet",
            input_shape=(size, size, 3),
            **dict(row.arguments),
        )
    return asked.value.args


ASKED_AT_224 = pytest.mark.filterwarnings("ignore:.*Weights for input shape")
CHEAP = ("mobilenet_0.25", "mobilenet_v2", "mobilenet_v3_small_0.75", "vgg16")


@ASKED_AT_224
@pytest.mark.parametrize("name", CHEAP)
@pytest.mark.parametrize("size", [96, 128])
def test_imagenet_files_are_those_that_keras_asks_for(name, size, monkeypatch):
    if name == "mobilenet_0.25" and size == 96:
        size = 224
    assert recorded(TABLE[name], size, monkeypatch) == imagenet_file(name, size)


@pytest.mark.large
@ASKED_AT_224
@pytest.mark.parametrize("name", [n for n in TABLE if n not in CHEAP])
def test_all_imagenet_files_are_those_that_keras_asks_for(name, monkeypatch):
    size = TABLE[name].size
    assert recorded(TABLE[name], size, monkeypatch) == imagenet_file(name, size)


def test_every_backbone_has_an_imagenet_file():
    files = {imagenet_file(name, 224) for name in TABLE}
    assert None not in files and len(files) == len(TABLE)
    assert imagenet_file("mobilenet_v2", 100) == imagenet_file("mobilenet_v2", 224)
    assert imagenet_file("mobilenet_v2", 96) != imagenet_file("mobilenet_v2", 224)
    assert imagenet_file("lenet-5", 28) is None


# Random values, hashes, channels


def test_random_values_come_from_the_seed_alone():
    def drawn(seed, noise):
        net = tiny()
        keras.utils.set_random_seed(noise)
        load_weights(net, "none" if noise else None, seed=seed)
        return values(net)

    assert_same(drawn(3, 0), drawn(3, 7))
    assert not np.array_equal(drawn(3, 0)[0], drawn(4, 0)[0])
    first, second = drawn(0, 0)[0], [v for v in drawn(0, 0) if v.ndim == 4][1]
    assert not np.array_equal(np.ravel(first)[:9], np.ravel(second)[:9])


def test_layers_of_one_shape_start_with_values_of_their_own():
    net = tiny(filters=3)
    load_weights(net, "none")
    first, second = (net.get_layer(name).kernel.numpy() for name in ("conv0", "conv1"))
    assert first.shape == second.shape
    assert not np.array_equal(first, second)


def test_reinitialise_touches_its_layers_only_and_no_generator():
    net = scrambled(tiny())
    before = values(net)
    random.seed(5)
    expected = random.random()
    random.seed(5)
    reinitialise([net.get_layer("conv1"), net.get_layer("bn1")], seed=0)
    assert random.random() == expected
    after = values(net)
    assert_same(after[:6], before[:6])
    for variable, old, new in zip(net.weights[6:], before[6:], after[6:], strict=True):
        assert not np.array_equal(old, new), variable.path
    gamma, beta, mean, variance = (np.unique(v) for v in after[8:])
    assert (gamma, beta, mean, variance) == (1, 0, 0, 1)


def test_fresh_values_have_the_size_of_the_initialiser():
    net = tiny(filters=64)
    load_weights(net, "none")
    kernel = net.get_layer("conv1").get_weights()[0]
    limit = np.sqrt(6 / (9 * 64 + 9 * 64))  # Glorot and Bengio 2010, equation 16
    assert 0.99 * limit < np.abs(kernel).max() <= limit
    np.testing.assert_allclose(kernel.std(), limit / np.sqrt(3), rtol=0.02)


arrays = st.lists(
    st.lists(st.floats(-2, 2, width=32), min_size=1, max_size=4), min_size=1, max_size=3
).map(lambda lists: [np.array(v, "float32") for v in lists])


@settings(max_examples=50, deadline=None)
@given(arrays, st.data())
def test_fingerprint_sees_every_value_and_the_order(first, data):
    assert fingerprint(first) == fingerprint([v.copy() for v in first])
    i = data.draw(st.integers(0, len(first) - 1))
    changed = [v.copy() for v in first]
    changed[i][-1] += 1
    assert fingerprint(changed) != fingerprint(first)
    assert fingerprint([v[None] for v in first]) != fingerprint(first)
    if not all(np.array_equal(a, b) for a, b in zip(first, first[::-1], strict=True)):
        assert fingerprint(first[::-1]) != fingerprint(first)


def test_fingerprint_sees_the_kind_of_number():
    zeros = [np.zeros(4, kind) for kind in ("float32", "int32", "float16")]
    assert len({fingerprint([value]) for value in zeros}) == 3


def test_fingerprint_of_variables_is_that_of_their_values():
    net = tiny()
    assert (
        fingerprint(net.weights)
        == fingerprint(net.get_weights())
        == fingerprint(tiny_copy(net).weights)
    )


def tiny_copy(net):
    other = tiny()
    other.set_weights(net.get_weights())
    return other


@pytest.mark.parametrize("channels", [1, 2, 4, 5])
def test_inflated_stem_gives_the_gray_answer(channels):
    net, wide = scrambled(tiny()), tiny(channels=channels)
    wide.set_weights(inflate(values(net), [v.shape for v in wide.weights]))
    assert_same(values(wide)[1:], values(net)[1:])
    gray = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype("float32")
    np.testing.assert_allclose(
        wide(np.repeat(gray, channels, -1)), net(np.repeat(gray, 3, -1)), rtol=2e-5, atol=2e-5
    )


def test_inflated_stem_keeps_colour_and_averages_the_rest():
    net = scrambled(tiny())
    kernel = values(net)[0]
    wide = inflate([kernel], [(3, 3, 5, 4)])[0] * 5 / 3
    np.testing.assert_allclose(wide[:, :, :3], kernel, rtol=1e-6)
    for extra in (3, 4):
        np.testing.assert_allclose(wide[:, :, extra], kernel.mean(axis=2), rtol=1e-6)
