"""Cached features are the features; a key covers all they depend on."""

import dataclasses
import threading

import keras
import numpy as np
import pytest

from tests.conftest import tiny_backbone
from tlkit import augment, features
from tlkit.backbones import Stage
from tlkit.errors import AuditError, TlkitError
from tlkit.features import Frozen, View
from tlkit.model import Classifier
from tlkit.store import Store

FLIP = View(augment.policy("photos"), seed=3, number=1)


@pytest.fixture
def frozen(classifier):
    return Frozen(classifier, Store())


@pytest.mark.parametrize("boundary", ["stage1", "stage3", "pooled"])
@pytest.mark.parametrize("view", [View(), FLIP], ids=["plain", "augmented"])
def test_cached_equals_live(frozen, data, boundary, view):
    cached = frozen.rows(data.train, boundary, view)
    pixels = features.pixel_rows(frozen.store, data.train, frozen.model.rule)
    hashes = np.array(data.train.hashes)
    live = frozen.live(pixels, hashes, view, boundary)
    loose = 1e-3 * np.abs(live).max() if cached.dtype == np.float16 else 1e-5
    np.testing.assert_allclose(cached, live, atol=loose)


def test_a_row_does_not_depend_on_its_place_in_the_batch(frozen, data):
    straight = frozen.rows(data.train, "stage3", View())
    other = Frozen(frozen.model, Store())
    order = np.random.default_rng(0).permutation(len(data.train))
    mixed = dataclasses.replace(
        data.train,
        table=data.train.table.select(order),
        labels=data.train.labels[order],
        hashes=tuple(data.train.hashes[i] for i in order),
    )
    np.testing.assert_array_equal(other.rows(mixed, "stage3", View()), straight[order])


def test_one_pass_for_two_boundaries_gives_the_same_bits(frozen, data):
    apart = [frozen.rows(data.train, end, FLIP) for end in ("stage2", "pooled")]
    together = Frozen(frozen.model, Store())
    pooled = together.rows(data.train, "pooled", FLIP, below="stage2")
    together._pass = None  # the lower rows must have been kept from that pass
    lower = together.rows(data.train, "stage2", FLIP)
    np.testing.assert_array_equal(lower, apart[0])
    np.testing.assert_array_equal(pooled, apart[1])


def test_two_boundaries_of_which_one_is_there_already(frozen, data):
    expected = Frozen(frozen.model, Store()).rows(data.train, "pooled", FLIP)
    lower = frozen.rows(data.train, "stage2", FLIP)
    pooled = frozen.rows(data.train, "pooled", FLIP, below="stage2")
    np.testing.assert_array_equal(pooled, expected)
    np.testing.assert_array_equal(frozen.rows(data.train, "stage2", FLIP), lower)


def test_changed_weights_are_never_served_old_rows(frozen, data):
    before = frozen.rows(data.train, "stage2", View()).copy()
    variable = frozen.model.backbone.net.get_layer("conv2").kernel
    variable.assign(variable * 2)
    frozen.forget()
    assert not np.array_equal(frozen.rows(data.train, "stage2", View()), before)
    # what lies below the change is still the same rows
    key = frozen.fingerprint("stage1")
    variable.assign(variable / 2)
    frozen.forget()
    assert frozen.fingerprint("stage1") == key


def test_views_differ_and_plain_views_are_one():
    keys = {View(FLIP.policy, seed, n).key() for seed in (0, 1) for n in (0, 1)}
    assert len(keys) == 4
    assert View(seed=5, number=9).key() == View().key()


def test_half_precision_only_where_harmless():
    assert features.half_is_harmless(np.linspace(0, 6, 1000, dtype=np.float32))
    assert not features.half_is_harmless(np.array([1e5, 1.0], np.float32))
    assert not features.half_is_harmless(np.array([np.nan], np.float32))
    assert not features.half_is_harmless(np.full(10, 1e-7, np.float32))


def test_beyond_the_budget_rows_are_computed_live(classifier, data):
    small = Frozen(classifier, Store(memory=1, disk=1))
    roomy = Frozen(classifier, Store())
    positions = np.array([3, 0, 7])
    live = small.training_rows(data.train, "pooled", [FLIP])
    kept = roomy.training_rows(data.train, "pooled", [FLIP])
    assert "live" in small.note(data.train, "pooled", 1)
    assert "cached 1 views" in roomy.note(data.train, "pooled", 1)
    np.testing.assert_allclose(live.batch(positions, 0), kept.batch(positions, 0), atol=1e-5)


@keras.saving.register_keras_serializable("tests")
class Noise(keras.layers.Layer):
    """Random in every mode, as drop-connect is where inference mode does not reach it."""

    def call(self, x):
        return x + keras.random.normal(keras.ops.shape(x))


def test_a_frozen_part_that_is_random_is_refused(data):
    inputs = keras.Input((32, 32, 3))
    net = keras.Model(inputs, Noise(name="noise")(keras.layers.Conv2D(4, 3, name="conv")(inputs)))
    backbone = dataclasses.replace(tiny_backbone(), net=net, stages=(Stage("stage1", "noise"),))
    frozen = Frozen(Classifier(backbone, data.class_names), Store())
    with pytest.raises(AuditError, match="stage1 is frozen but answers"):
        frozen.rows(data.val, "stage1", View())


def test_each_image_is_decoded_once_though_some_are_decoded_ahead(frozen, data, monkeypatch):
    decoded, real = [], features._decoded

    def counting(images, rule, positions):
        decoded.extend(positions)
        return real(images, rule, positions)

    expected = features.pixel_rows(Store(), data.train, frozen.model.rule)
    monkeypatch.setattr(features, "_decoded", counting)
    with features.decoding_ahead(frozen.store, data.train, frozen.model.rule):
        found = features.pixel_rows(frozen.store, data.train, frozen.model.rule)
    np.testing.assert_array_equal(found, expected)
    assert sorted(decoded) == list(range(len(data.train)))


def test_decoding_ahead_ends_with_the_block(frozen, data, monkeypatch):
    begun, may_go_on = threading.Event(), threading.Event()

    def slow(images, rule, positions):
        for _ in positions:
            begun.set()
            may_go_on.wait(10)
            yield np.zeros((1, rule.size, rule.size, 3), np.uint8)

    monkeypatch.setattr(features, "_decoded", slow)
    ahead = features.decoding_ahead(frozen.store, data.train, frozen.model.rule)
    with pytest.raises(KeyboardInterrupt), ahead:
        begun.wait(10)
        threading.Timer(0.2, may_go_on.set).start()
        raise KeyboardInterrupt
    kind = features.pixel_kind(frozen.model.rule)
    assert len(frozen.store.missing(kind, data.train.hashes)) == len(data.train)


def test_trouble_in_decoding_ahead_reaches_who_asks_for_the_pixels(frozen, data, monkeypatch):
    def broken(*_):
        raise TlkitError("a.jpg is gone")

    monkeypatch.setattr(features, "_decoded", broken)
    with features.decoding_ahead(frozen.store, data.train, frozen.model.rule):
        pass
    with pytest.raises(TlkitError, match=r"a\.jpg is gone"):
        features.pixel_rows(frozen.store, data.train, frozen.model.rule)
