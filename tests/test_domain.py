"""Domain distance, and the guess of what kind of pictures there are."""

import numpy as np
import pytest

from tlkit import domain, image_kind
from tlkit.policies import POLICIES
from tlkit.probes import Accuracy, Probe
from tlkit.stage_features import Norms


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


@pytest.mark.parametrize(
    ("rows", "policy"),
    [
        (photos(), "photos"), (strokes(), "digits"), (surfaces(), "textures"),
        (chests(), "xray"), (pages(), "documents"),
    ],
    ids=["photos", "digits", "textures", "xray", "documents"],
)  # fmt: skip
def test_kind_suggests_a_policy_and_says_why(rows, policy):
    found = image_kind.guess(rows)
    assert found.policy == policy and found.policy in POLICIES and found.reason
    one_channel = image_kind.guess(rows[..., :1])
    if policy != "photos":
        assert one_channel.policy == policy


def test_every_suggested_policy_exists():
    assert {row[1] for row in image_kind._RULES} <= POLICIES.keys()


def test_few_pictures_say_nothing():
    assert image_kind.guess(strokes(8)).policy == "photos"
