"""Domain distance, and the guess of what kind of pictures there are."""

import dataclasses

import numpy as np
import pytest

from tlkit.advice import domain, image_kind
from tlkit.augmentation.policies import POLICIES
from tlkit.evaluation.probes import Accuracy, Probe
from tlkit.features.stages import Norms


def seen(mean, deviation, n=400, channels=64, seed=0):
    """Returns the Norms of a layer trained on N(0.5, 2) that is now fed N(mean, deviation)."""
    draw = np.random.default_rng(seed)
    values = draw.normal(mean, deviation, (n, 50, channels))
    own = np.full(channels, 0.5), np.full(channels, 4.0)
    return Norms(values.mean(1), (values**2).mean(1), *own)


def probed(right):
    right = np.asarray(right, bool)
    value = Accuracy(right.mean(), 0.0, 1.0)
    return Probe(value, value, 0.0, np.zeros((len(right), 2)), right)


@pytest.mark.parametrize(
    ("mean", "deviation", "distance"),
    [(0.5, 2.0, 0.0), (2.5, 2.0, 1.0), (0.5, 4.0, 1.0), (0.5, 1.0, 0.5), (2.5, 4.0, 2**0.5)],
)
def test_shift_has_its_closed_form(mean, deviation, distance):
    assert domain.shift(seen(mean, deviation)) == pytest.approx(distance, abs=0.03)


def normed(shift, channels=3):
    """Returns the Norms of one image whose mean is so many deviations of 1 away."""
    wide = np.ones((1, channels))
    return Norms(shift * wide, (shift**2 + 1) * wide, np.zeros(channels), np.ones(channels))


@pytest.mark.parametrize(
    ("shifts", "word"),
    [
        ((0.0, 0.5), "similar"), ((0.25, 0.5), "unclear"), ((0.5, 0.75), "unclear"),
        ((0.25, 1.25), "different"), ((1.0, 0.0, 0.0), "similar"),
    ],
)  # fmt: skip
def test_the_mean_shift_of_all_stages_says_how_far(shifts, word):
    last = probed(np.arange(100) % 10 < 8)
    found = domain.measure(
        {"low": last, "high": last}, {str(i): normed(shift) for i, shift in enumerate(shifts)}
    )
    assert found.distance == pytest.approx(np.mean(shifts)) and found.word == word
    assert list(found.shift.values()) == pytest.approx(shifts)
    assert found.reasons[-1].startswith(f"BatchNorm inputs lie {np.mean(shifts):.2f} deviations")


def test_shift_at_the_bounds(monkeypatch):
    last = probed(np.arange(100) % 10 < 8)
    monkeypatch.setattr(domain, "NEAR", 0.5)
    monkeypatch.setattr(domain, "FAR", 1.0)
    words = [domain.measure({"a": last}, {"a": normed(shift)}).word for shift in (0.5, 1.0)]
    assert words == ["unclear", "different"]


def test_nearest_neighbours_are_a_sign_of_their_own():
    right = np.arange(100) % 10 < 8
    low, high = (dataclasses.replace(probed(right), knn=Accuracy(value, 0, 1))
                 for value in (0.7, 0.6))  # fmt: skip
    found = domain.measure({"low": low, "high": high}, {})
    assert found.knn_gain == pytest.approx(0.1)
    assert "nearest neighbours gain 10.0 points at an earlier stage" in found.reasons
    found = domain.measure({"low": high, "high": low}, {})
    assert found.knn_gain == 0 and "nearest neighbours are best at the last" in found.reasons[1]
    assert (found.best_stage, found.gain, found.sure) == ("low", 0.0, False)


def test_the_largest_of_many_differences_must_be_surer():
    """Six images only one stage gets right: 1 in 32 by chance, too often among three stages."""
    last = np.arange(100) < 80
    better = np.arange(100) < 86
    worse = probed(np.arange(100) < 50)
    few = {"low": probed(better), "high": probed(last)}
    many = {"lowest": worse, "low": probed(better), "high": probed(last)}
    assert not domain.measure(few, {}).sure  # 0.031 > 0.05 / 2
    seven = few | {"low": probed(np.arange(100) < 87)}
    assert domain.measure(seven, {}).sure  # 0.0156 < 0.05 / 2
    assert domain.measure(many | seven, {}).sure  # and < 0.05 / 3
    four = {"a": worse, "b": worse} | many | seven
    assert not domain.measure(dict(sorted(four.items(), key=lambda x: x[0] == "high")), {}).sure


def test_a_few_wild_channels_do_not_decide():
    norms = seen(0.5, 2.0)
    norms.mean[:, :2] += 1e4
    norms.square[:, :2] += 1e8
    assert domain.shift(norms) < 1.0


def test_words():
    last, worse = probed(np.arange(200) % 10 < 8), probed(np.arange(200) % 10 < 5)
    near = {"stage1": seen(0.5, 2.0)}
    found = domain.measure({"stage1": worse, "stage2": last}, near)
    assert (found.word, found.best_stage, found.sure) == ("similar", "stage2", False)
    found = domain.measure({"stage1": last, "stage2": worse}, near)
    assert (found.word, found.best_stage, found.sure) == ("different", "stage1", True)
    assert found.gain == pytest.approx(0.3) and found.low > 0
    assert "better at stage1" in found.reasons[0]
    for move, word in ((1.0, "unclear"), (2.0, "different")):
        found = domain.measure({"stage1": worse, "stage2": last}, {"stage1": seen(0.5 + move, 2)})
        assert found.word == word


def test_a_lucky_stage_is_not_sure():
    last = np.arange(100) % 10 < 7
    lucky = last.copy()
    lucky[[7, 8, 17]] = True  # three images of a hundred
    found = domain.measure({"stage1": probed(lucky), "stage2": probed(last)}, {})
    assert not found.sure and found.word == "similar" and np.isnan(found.distance)
    assert "cannot be told" in found.reasons[0] and "no BatchNorm" in found.reasons[-1]


def photos(n=64, side=64):
    draw = np.random.default_rng(0)
    sky = np.linspace(200, 60, side)[None, :, None, None] * np.array([0.7, 0.9, 1.0])
    things = draw.uniform(-60, 60, (n, 4, 4, 3)).repeat(side // 4, 1).repeat(side // 4, 2)
    return np.clip(sky + things, 0, 255).astype(np.uint8)


def strokes(n=64, side=64):
    draw = np.random.default_rng(0)
    rows = np.full((n, side, side, 3), 255, np.uint8)
    for row in rows:
        at = int(draw.integers(10, 50))
        row[16:48, at : at + 4] = 0
    return rows


def surfaces(n=64, side=64):
    draw = np.random.default_rng(0)
    gray = draw.normal(120, 30, (n, side // 4, side // 4, 1)).repeat(4, 1).repeat(4, 2)
    return np.clip(gray, 0, 255).astype(np.uint8).repeat(3, -1)


def pages(n=64, side=64):
    draw = np.random.default_rng(0)
    rows = np.full((n, side, side, 3), 250, np.uint8)
    words = draw.random((n, 8, 16)) < 0.5
    for line in range(8):
        ink = words[:, line].repeat(side // 16, 1)[:, None, :, None]
        rows[:, 8 * line + 2 : 8 * line + 5] = np.where(ink, 20, 250)
    return rows


def chests(n=64, side=64):
    draw = np.random.default_rng(0)
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    body = 180 * np.exp(-(x**2) * 4 - y**2 * 2)
    rows = body[None, ..., None] * draw.uniform(0.8, 1.2, (n, 1, 1, 1))
    return np.clip(rows, 0, 255).astype(np.uint8).repeat(3, -1)


def cells(n=64, side=64):
    """Returns reddish spots anywhere."""
    draw = np.random.default_rng(0)
    light = draw.uniform(0.3, 1, (n, 16, 16, 1)).repeat(side // 16, 1).repeat(side // 16, 2)
    return (light * np.array([220, 90, 110])).astype(np.uint8)


def land(n=64, side=64):
    """Returns fields of any colour anywhere."""
    draw = np.random.default_rng(0)
    fields = draw.integers(0, 256, (n, 16, 16, 3)).repeat(side // 16, 1).repeat(side // 16, 2)
    return fields.astype(np.uint8)


def test_statistics_by_hand():
    rows = np.zeros((4, 32, 32, 3), np.uint8)
    rows[0] = 255  # white
    rows[1] = (255, 0, 0)
    rows[2, :, 24:] = 255  # a quarter of each line
    found = image_kind.statistics(rows)
    assert found.gray == 0.75 and found.white == pytest.approx(1.25 / 4)
    assert found.black == pytest.approx(1.75 / 4) and found.hues == pytest.approx(1)
    assert found.edge == 0.75  # the border of the third is not alike
    assert found.strokes == 1.0, "one change along each line of the third, which holds ink"
    assert found.even == pytest.approx(0, abs=1e-6), "all changes are across"
    same = image_kind.statistics(np.repeat(rows[2:3], 8, 0))
    assert same.structure == pytest.approx(7 / 8)  # all alike, less what chance gives
    turned = image_kind.statistics(np.swapaxes(rows, 1, 2))
    assert turned.even == pytest.approx(0, abs=1e-6) and turned.edge == found.edge
    coloured = rows.copy()
    coloured[0] = (0, 255, 255)  # opposite to red
    assert image_kind.statistics(coloured).hues == pytest.approx(0, abs=1e-6)


def test_a_sample_is_spread_over_all_rows():
    rows = np.zeros((1024, 4, 4, 3), np.uint8)
    rows[512:] = 255
    assert image_kind.statistics(rows).white == 0.5


@pytest.mark.parametrize(
    ("rows", "policy"),
    [
        (cells(), "microscopy"), (land(), "aerial"),
        (photos(), "photos"), (strokes(), "digits"), (surfaces(), "textures"),
        (chests(), "xray"), (pages(), "documents"),
    ],
    ids=["microscopy", "aerial", "photos", "digits", "textures", "xray", "documents"],
)  # fmt: skip
def test_kind_suggests_a_policy_and_says_why(rows, policy):
    found = image_kind.guess(rows)
    assert found.policy == policy and found.policy in POLICIES and found.reason
    one_channel = image_kind.guess(rows[..., :1])
    if policy not in ("photos", "microscopy", "aerial"):
        assert one_channel.policy == policy


def test_few_pictures_say_nothing():
    assert image_kind.guess(strokes(15)).policy == "photos"
    assert "15 pictures are too few" in image_kind.guess(strokes(15)).reason
    assert image_kind.guess(strokes(16)).policy == "digits"
