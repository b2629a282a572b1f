"""The rules from facts to a plan: thresholds where they stand, and plans written out by hand."""

import dataclasses

import numpy as np
import pytest

from tlkit.advice import rules
from tlkit.advice.rules import Facts
from tlkit.phases import phase as phases
from tlkit.phases.phase import Phase

FACTS = Facts(
    images=800, classes=5, domain="similar", gain=0.0, distance=0.2, accuracy=0.93, probed=800,
    tested=150, stages=("stage1", "stage2", "stage3"), best_stage="stage3",
)  # fmt: skip
FAR = {"domain": "different", "distance": 0.9}


def changed(**values):
    return dataclasses.replace(FACTS, **values)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "fine-tune from stage3"),
        ({"images": 49}, "head only"),
        ({"images": 50}, "fine-tune from stage3"),  # ten a class are enough to judge a phase
        ({"accuracy": 0.6}, "fine-tune from stage2"),
        ({"accuracy": 0.6, "images": 299}, "fine-tune from stage3"),
        ({"accuracy": 0.6, "images": 300}, "fine-tune from stage2"),
        ({"accuracy": 0.89}, "fine-tune from stage2"),
        ({"accuracy": 0.91}, "fine-tune from stage3"),
        ({"accuracy": 0.6, "stages": ("stage1", "stage3")}, "fine-tune from stage3"),
        ({"images": 4000, "accuracy": 0.97}, "fine-tune from stage3"),
        ({"domain": "unclear"}, "fine-tune from stage3"),
        (FAR, "fine-tune from stage1"),
        (FAR | {"images": 20}, "fine-tune from stage1"),  # far goes before few
        (FAR | {"images": 4000, "gain": 0.1}, "fine-tune from stage1"),
        ({"pretrained": False, "images": 20}, "train from scratch"),
    ],
)
def test_rules(changes, name):
    plan = rules.plan(changed(**changes))
    assert plan.name == name
    fields = {f"{phase.name}.{f.name}" for phase in plan.phases for f in dataclasses.fields(phase)}
    assert set(plan.notes) <= fields and all(plan.notes.values())
    depths = {"head only": 0, "fine-tune from stage3": 1, "fine-tune from stage2": 2}
    assert plan.depth == depths.get(name, 3)


@pytest.mark.parametrize(
    ("images", "domain", "cell", "rule"),
    [
        (499, "similar", ("little", "similar"), "a linear classifier on the top layer"),
        (500, "similar", ("much", "similar"), "fine-tune a few layers"),  # 100 a class are much
        (500, "unclear", ("much", "similar"), "fine-tune a few layers"),
        (499, "different", ("little", "different"), "trouble: try a linear classifier"),
        (500, "different", ("much", "different"), "fine-tune a larger number of layers"),
    ],
)
def test_the_table_has_every_cell(images, domain, cell, rule):
    facts = changed(images=images, domain=domain)
    assert facts.cell == cell and rules.TABLE[cell].startswith(rule)


def test_enough_data_and_nothing_strange_is_the_default():
    for images in (500, 800):
        plan = rules.plan(changed(images=images))
        assert plan.is_default and plan.phases == phases.head_then_upper(FACTS.stages)
    assert not rules.plan(changed(images=499)).is_default
    other = rules.plan(changed(policy="textures", policy_reason="surfaces"))
    assert not other.is_default and [phase.augment for phase in other.phases] == ["textures"] * 2
    assert other.notes["head.augment"] == other.notes["fine-tune.augment"] == "surfaces"


HEAD = Phase("head", epochs=40, rate=3e-3, patience=6)
TAIL = Phase("fine-tune", unfreeze="stage3", epochs=12, rate=3e-4, patience=5)
ALL = {"unfreeze": "all", "batch_norm": "train", "rate": 1e-3, "clip": 1.0}


@pytest.mark.parametrize(
    ("changes", "head", "tail"),
    [
        # 499 images are 16 steps an epoch: 50 epochs make 800 steps, 25 make 400.
        ({"images": 499}, {"epochs": 50, "patience": 10}, {"epochs": 25}),
        ({"accuracy": 0.6}, {}, {"unfreeze": "stage2", "epochs": 20}),
        (FAR, {}, ALL | {"epochs": 20}),
        # 100 images are 4 steps: 800, and 1,000 where the domain is different.
        (FAR | {"images": 100}, {"epochs": 200, "patience": 40},
         ALL | {"epochs": 250, "patience": 50}),
        ({"images": 100}, {"epochs": 200, "patience": 40}, {"epochs": 100, "patience": 20}),
        # 19 classes need 150 steps each, 2,850, of which 12 are an epoch.
        ({"images": 380, "classes": 19, "accuracy": 0.93}, {"epochs": 238, "patience": 47},
         {"epochs": 34, "patience": 6}),
        # From 20 classes on the head learns faster.
        ({"images": 380, "classes": 20}, {"epochs": 250, "patience": 50, "rate": 1e-2},
         {"epochs": 34, "patience": 6}),
        ({"images": 20_000, "classes": 20}, {}, {}),  # but not where its steps are enough
    ],
)  # fmt: skip
def test_plans_by_hand(changes, head, tail):
    plan = rules.plan(changed(**changes))
    expected = dataclasses.replace(HEAD, **head), dataclasses.replace(TAIL, **tail)
    assert plan.phases == expected


def test_a_plan_says_why():
    notes = rules.plan(changed(images=240, classes=24, accuracy=0.6)).notes
    # 8 steps an epoch; 24 x 150 = 3,600 steps are 450 epochs.
    assert notes["head.epochs"].endswith("8 steps an epoch, and the head needs some 3,600 for 24 "
                                         "classes")  # fmt: skip
    assert notes["head.rate"].startswith("24 classes and few images")
    two = rules.plan(changed(accuracy=0.6)).notes
    assert two["fine-tune.unfreeze"] == "800 images, and the probe still gets 40 % wrong"
    assert "tenth of the default head's" in two["fine-tune.rate"] and "head.rate" not in two
    few = rules.plan(changed(images=30)).notes
    assert "30 steps" not in few["head.epochs"] and set(few) == {"head.epochs", "head.augment"}
    far = rules.plan(changed(**FAR)).notes
    assert far["fine-tune.unfreeze"].startswith("BatchNorm inputs 0.90 deviations")
    assert far["fine-tune.batch_norm"].startswith("statistics lie 0.90 deviations")
    assert "a third of the default head's" in far["fine-tune.rate"] and far["fine-tune.clip"]
    gained = rules.plan(changed(**FAR | {"gain": 0.12, "best_stage": "stage2"})).notes
    assert "a probe at stage2 is 12.0 points better" in gained["fine-tune.unfreeze"]


def test_random_weights_are_trained_from_scratch_with_the_suggested_augmentation():
    plan = rules.plan(changed(pretrained=False, policy="digits", policy_reason="strokes"))
    (phase,) = phases.from_scratch()
    assert plan.phases == (dataclasses.replace(phase, augment="digits"),)
    assert not plan.is_default and plan.notes["from scratch.augment"] == "strokes"
    assert rules.plan(changed(pretrained=False)).is_default


def test_the_default_where_nothing_is_measured():
    stages = FACTS.stages
    plan = rules.default(stages, True)
    assert (plan.phases, plan.depth, plan.is_default) == (phases.head_then_upper(stages), 1, True)
    assert rules.default(stages, False).phases == phases.from_scratch()
    assert rules.default(stages, False).depth == 3
    flipped = rules.default(stages, True, "flip")
    assert [phase.augment for phase in flipped.phases] == ["flip", "flip"]
    assert not flipped.is_default


@pytest.mark.parametrize(
    ("depth", "middle", "spread"),
    # Of 20 % errors so much is expected to go, give or take so much.
    [(0, 0.81, 0.15), (1, 0.83, 0.20), (2, 0.85, 0.25), (3, 0.86, 0.30), (7, 0.86, 0.30)],
)
def test_expected_accuracy_by_hand(depth, middle, spread):
    facts = changed(accuracy=0.8, probed=300, tested=100)
    doubted = 62 / 304  # two right and two wrong added to 60 wrong of 300
    variance = doubted * (1 - doubted) * (1 / 300 + 1 / 100) + 0.005**2 + (doubted * spread) ** 2
    expected = middle, middle - 1.96 * variance**0.5, min(middle + 1.96 * variance**0.5, 1)
    assert rules.accuracy_range(facts, depth) == pytest.approx(expected)


def test_range_narrows_with_images_and_stays_within_bounds():
    wide = rules.accuracy_range(changed(probed=40, tested=30), 1)
    narrow = rules.accuracy_range(changed(probed=2000, tested=2000), 1)
    assert wide[2] - wide[1] > narrow[2] - narrow[1] > 0
    perfect = rules.accuracy_range(changed(accuracy=1.0), 1)
    assert 0 < perfect[1] < perfect[2] == 1.0 and perfect[0] <= 1
    hopeless = rules.accuracy_range(changed(accuracy=0.0, probed=20, tested=0), 0)
    assert hopeless[0] == pytest.approx(0.05) and hopeless[1] == 0


def test_range_covers_if_gains_are_as_stated():
    """Draws probes, gains and tests as the range assumes; 95 % must hold the outcome."""
    draw, held = np.random.default_rng(0), 0
    mean, spread = rules.GAINS[1]
    for _ in range(2000):
        probe = draw.binomial(300, 0.8) / 300
        truth = np.clip(1 - 0.2 * (1 - draw.normal(mean, spread)), 0, 1)
        facts = changed(accuracy=probe, probed=300, tested=100)
        _, low, high = rules.accuracy_range(facts, 1)
        held += low <= draw.binomial(100, truth) / 100 <= high
    assert held / 2000 >= 0.93
