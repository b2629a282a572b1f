"""Features that are kept are the features, whatever way they were computed."""

import dataclasses
import threading

import keras
import numpy as np
import pytest

from tests.conftest import UNSORTED, tiny_backbone
from tests.pictures import Watched, assert_rows, expected, images_of, noise, seen, taken
from tlkit.augmentation import policies
from tlkit.backbones.backbone import Stage
from tlkit.backbones.preprocess import Preprocess
from tlkit.errors import AuditError, TlkitError
from tlkit.features import frozen as features
from tlkit.features.decoded import decoding_ahead, pixel_kind, pixel_rows
from tlkit.features.frozen import Frozen, View
from tlkit.features.store import Store
from tlkit.images import pixels
from tlkit.images.pixels import PixelRule
from tlkit.models.classifier import Classifier

FLIP = View(policies.policy("photos"), seed=3, number=1)
IMAGES = images_of(noise(35))  # a batch and three more


@pytest.fixture
def frozen():
    return Frozen(Classifier(tiny_backbone(), UNSORTED), Watched())


@pytest.mark.parametrize("boundary", ["stage1", "stage3", "pooled"])
@pytest.mark.parametrize("view", [View(), FLIP], ids=["plain", "augmented"])
def test_kept_and_live_rows_are_those_of_keras(frozen, boundary, view):
    wanted = expected(frozen.model, IMAGES, boundary, view)
    assert_rows(frozen.rows(IMAGES, boundary, view), wanted)
    few = pixel_rows(frozen.store, IMAGES, frozen.model.rule)[4:9]
    assert_rows(frozen.live(few, np.array(IMAGES.hashes[4:9]), view, boundary), wanted[4:9])


def test_the_first_stage_is_what_numpy_computes(frozen):
    net = frozen.model.backbone.net
    kernel, norm = net.get_layer("conv1").kernel.numpy(), net.get_layer("norm1")
    x = seen(IMAGES, frozen.model.rule, View())[:2] / 127.5 - 1
    x = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))  # as TensorFlow's SAME does with stride 2
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))[:, ::2, ::2]
    y = np.einsum("bijcyx,yxcf->bijf", windows, kernel)
    y = (y - norm.moving_mean) / np.sqrt(norm.moving_variance + norm.epsilon)
    wanted = np.maximum(y * norm.gamma + norm.beta, 0)
    assert_rows(frozen.rows(taken(IMAGES, np.arange(2)), "stage1", View()), wanted)


def test_a_row_does_not_depend_on_its_place_in_the_batch(frozen):
    straight = frozen.rows(IMAGES, "stage3", View())
    order = np.random.default_rng(0).permutation(len(IMAGES))
    other = Frozen(frozen.model, Store())
    found = other.rows(taken(IMAGES, order), "stage3", View())
    np.testing.assert_array_equal(found, straight[order])


def test_one_pass_for_two_boundaries_gives_the_same_bits(frozen):
    apart = [frozen.rows(IMAGES, end, FLIP) for end in ("stage2", "pooled")]
    together = Frozen(frozen.model, Watched())
    pooled = together.rows(IMAGES, "pooled", FLIP, below="stage2")
    together.store.computed.clear()
    lower = together.rows(IMAGES, "stage2", FLIP)
    assert together.store.computed == []  # the lower rows were kept from that pass
    np.testing.assert_array_equal(lower, apart[0])
    np.testing.assert_array_equal(pooled, apart[1])


def test_two_boundaries_of_which_one_is_there_already(frozen):
    wanted = Frozen(frozen.model, Store()).rows(IMAGES, "pooled", FLIP)
    lower = frozen.rows(IMAGES, "stage2", FLIP)
    pooled = frozen.rows(IMAGES, "pooled", FLIP, below="stage2")
    np.testing.assert_array_equal(pooled, wanted)
    np.testing.assert_array_equal(frozen.rows(IMAGES, "stage2", FLIP), lower)


def test_views_differ_and_plain_views_are_one():
    keys = {View(FLIP.policy, seed, n).key() for seed in (0, 1) for n in (0, 1)}
    assert len(keys) == 4
    assert View(seed=5, number=9).key() == View().key()


def test_half_precision_only_where_harmless():
    assert features.half_is_harmless(np.linspace(0, 6, 1000, dtype=np.float32))
    assert not features.half_is_harmless(np.array([31_000.0, 1.0], np.float32))
    assert not features.half_is_harmless(np.array([-1e5, 1.0], np.float32))
    assert not features.half_is_harmless(np.array([np.nan], np.float32))
    assert not features.half_is_harmless(np.full(10, 1e-7, np.float32))
    assert features.half_is_harmless(np.array([1e-7, 1.0], np.float32))


def one_layer(layer, names=UNSORTED):
    """Returns a frozen part of one stage that takes pixels as they are."""
    inputs = keras.Input((32, 32, 3))
    net = keras.Model(inputs, layer(inputs))
    stages = (Stage("stage1", layer.name),)
    plain = dataclasses.replace(
        tiny_backbone(), net=net, stages=stages, preprocess=Preprocess("none")
    )
    return Frozen(Classifier(plain, names), Store())


def shades(*values):
    return images_of(np.stack([np.full((32, 32, 3), value, np.uint8) for value in values]))


def times(factor):
    """A layer of one channel: the sum of red, green and blue, times a factor."""
    kernel = keras.initializers.Constant(factor)
    return keras.layers.Conv2D(1, 1, use_bias=False, kernel_initializer=kernel, name="sum")


def test_maps_are_halved_where_it_does_no_harm_and_vectors_are_not(frozen):
    assert frozen.rows(IMAGES, "stage2", View()).dtype == np.float16
    assert frozen.rows(IMAGES, "pooled", View()).dtype == np.float32
    large = one_layer(times(50.0)).rows(shades(0, 255), "stage1", View())
    assert large.dtype == np.float32 and large[1].max() == 255 * 3 * 50.0


def test_a_later_batch_that_is_larger_than_the_first_does_not_overflow():
    pictures = np.zeros((34, 32, 32, 3), np.uint8)
    pictures[np.arange(32), 0, np.arange(32), 0] = 1
    pictures[32:] = [[[[1]]], [[[255]]]]
    rows = one_layer(times(100.0)).rows(images_of(pictures), "stage1", View())
    assert rows.dtype == np.float16 and np.isfinite(rows).all()
    assert rows[:32].max() == 100 and rows[32].max() == 300 and rows[33].min() > 60_000


@keras.saving.register_keras_serializable("tests")
class Noise(keras.layers.Layer):
    """Random in every mode, as drop-connect is where inference mode does not reach it."""

    def call(self, x):
        return x + 10 * keras.random.normal(keras.ops.shape(x))


def test_a_frozen_part_that_is_random_is_refused():
    with pytest.raises(AuditError, match="stage1 is frozen but answers"):
        one_layer(Noise(name="noise")).rows(shades(1, 2, 3), "stage1", View())


class Album:
    """A table whose pictures are read by a function."""

    arrays = True

    def __init__(self, count, read):
        self.count, self.read = count, read

    def __len__(self):
        return self.count


def album(read):
    return dataclasses.replace(IMAGES, table=Album(len(IMAGES), read))


def test_each_image_is_decoded_once_though_some_are_decoded_ahead(frozen):
    decoded = []

    def read(i):
        decoded.append(i)
        return IMAGES.table.read(i)

    with decoding_ahead(frozen.store, album(read), frozen.model.rule):
        found = pixel_rows(frozen.store, album(read), frozen.model.rule)
    np.testing.assert_array_equal(found, seen(IMAGES, frozen.model.rule, View()))
    assert sorted(decoded) == list(range(len(IMAGES)))


def test_decoding_goes_on_while_the_block_does_something_else(frozen):
    last = threading.Event()

    def read(i):
        if i == len(IMAGES) - 1:
            last.set()
        return IMAGES.table.read(i)

    with decoding_ahead(frozen.store, album(read), frozen.model.rule):
        assert last.wait(20)  # nobody asked for pixels


def test_decoding_ahead_ends_with_the_block(frozen):
    begun, may_go_on = threading.Event(), threading.Event()

    def read(i):
        begun.set()
        may_go_on.wait(10)
        return IMAGES.table.read(i)

    ahead = decoding_ahead(frozen.store, album(read), frozen.model.rule)
    with pytest.raises(KeyboardInterrupt), ahead:
        begun.wait(10)
        threading.Timer(0.2, may_go_on.set).start()
        raise KeyboardInterrupt
    kind = pixel_kind(frozen.model.rule)
    assert len(frozen.store.missing(kind, IMAGES.hashes)) == len(IMAGES)


def test_trouble_in_decoding_ahead_reaches_who_asks_for_the_pixels(frozen):
    def read(i):
        raise TlkitError("a.jpg is gone")

    with decoding_ahead(frozen.store, album(read), frozen.model.rule):
        pass
    with pytest.raises(TlkitError, match=r"a\.jpg is gone"):
        pixel_rows(frozen.store, album(read), frozen.model.rule)


def test_pixels_of_files_are_those_of_each_file(data):
    rule = PixelRule(24, "pad")
    order = np.arange(len(data.train))[::-2]
    found = pixel_rows(Store(), taken(data.train, order), rule)
    wanted = [pixels.load_path(data.train.files[i], rule) for i in order]
    np.testing.assert_array_equal(found, wanted)
