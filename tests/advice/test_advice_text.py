"""What the advice says, shows and keeps: every number from a case made by hand."""

import dataclasses
import json
import re

import numpy as np
import pytest
from matplotlib.colors import to_hex

from tests.advice.test_advice_rules import FACTS, changed
from tlkit.advice import charts, rules
from tlkit.advice import lines as advice_text
from tlkit.advice import page as advice_page
from tlkit.advice.candidates import ALL, Candidate
from tlkit.advice.domain import Domain
from tlkit.advice.image_kind import Kind
from tlkit.advice.result import Advice
from tlkit.evaluation.probes import Accuracy, Probe
from tlkit.pages import figures
from tlkit.planning import costs
from tlkit.planning.estimate import Estimate, PhaseCost


def probe(linear, knn, logme):
    """Returns a probe of such accuracies, with other numbers for each end of an interval."""
    ends = [Accuracy(value, value - 0.05, value + 0.03) for value in (linear, knn)]
    return Probe(*ends, logme, np.zeros((2, 2)), np.zeros(2, bool))


def candidate(name, top, adds, behind=None, logme=0.5):
    stages = {"low": probe(0.4, 0.3, -0.25), "high": probe(top, 0.6, logme)}
    stages[ALL] = probe(0.99, 0.98, 0.9)
    far = Domain("unclear", "high", False, 0.0, -0.01, 0.02, -0.1, {"low": 0.4, "high": 0.5},
                 ("first sign", "second sign"))  # fmt: skip
    cost = costs.Cost(2_500_000, adds, 120.0, 10.0, 0.25, 0.001)
    return Candidate(name, f"weights of {name}", 96, stages, far, cost, behind or {})


def gap(verdict):
    return {"difference": 0.1, "low": -0.02, "high": 0.22, "verdict": verdict}


FIRST = candidate("alpha", 0.9, 300_000_000, logme=0.5)
TIED = candidate("beta", 0.8, 600_000_000, gap("+10.0: cannot tell them apart"), logme=0.7)
WORSE = candidate("gamma", 0.7, 30_000_000, gap("+10.0: the first is better"), logme=0.1)
# All epochs of both phases take 60 + 24 of 120 seconds.
COST = Estimate(
    (PhaseCost("head", 10, 4, 3, 2.0, 30, 0), PhaseCost("tail", 2, 0, 5, 6.0, 4, 0)), 2e9, 12.0
)


@pytest.fixture
def advice():
    facts = changed(images=1200, domain="unclear", accuracy=0.9, tested=150, policy="digits",
                    policy_reason="strokes")  # fmt: skip
    plan = rules.plan(facts)
    kind = Kind("handwriting", "digits", "gray strokes")
    return Advice(
        (FIRST, TIED, WORSE), facts, plan, (0.915, 0.86, 0.95), COST, kind, 1000, {}, {},
        ("a note",),
    )  # fmt: skip


def test_minutes_are_for_a_third_of_the_epochs_or_all(advice):
    # 120 seconds in all, 64 with a third of the epochs.
    middle, least, most = advice.minutes
    assert (least, most) == pytest.approx((64 / 60, 120 / 60))
    assert middle == pytest.approx((64 * 120) ** 0.5 / 60)


def test_where_the_data_stand(advice):
    assert advice_text.where(advice.facts, FIRST) == [
        "Where you are: much data, similar domain (unclear, read as similar)",
        "  1,200 training images, 240 a class; from 100 we say much (a convention)",
        "  first sign (alpha)",
        "  second sign (alpha)",
        "  The lectures' rule for this cell: fine-tune a few layers.",
    ]


def test_stages_are_a_table():
    lines = advice_text.stage_table(FIRST, 1000)
    assert lines[0].startswith("Stages of alpha at 96 pixels: 1,000 training images")
    assert [re.split(r"  +", line.strip()) for line in lines[1:]] == [
        ["linear probe, %", "nearest neighbours, %", "LogME"],
        ["low", "40.0 (35.0 to 43.0)", "30.0 (25.0 to 33.0)", "-0.250"],
        ["high", "90.0 (85.0 to 93.0)", "60.0 (55.0 to 63.0)", "+0.500"],
        ["all stages", "99.0 (94.0 to 102.0)", "98.0 (93.0 to 101.0)", "+0.900"],
    ]


def test_backbones_are_ranked_and_ties_are_said(advice):
    lines = advice_text.ranking(advice.candidates)
    assert lines[1] == "  1. alpha: 90.0 (85.0 to 93.0) %, LogME +0.500"
    assert lines[3].startswith("  2. beta: 80.0 (75.0 to 83.0) %, LogME +0.700; tied with the ")
    assert lines[3].endswith("first by 10.0 points (-2.0 to 22.0)")
    assert "behind the first by" in lines[5]
    assert lines[2].strip() == str(FIRST.cost)
    assert lines[-1] == "  LogME would order them beta, alpha, gamma."
    same = dataclasses.replace(advice, candidates=(FIRST, WORSE))
    assert not any("LogME would" in line for line in advice_text.ranking(same.candidates))


def test_the_plan_is_shown_with_reasons(advice):
    lines = advice_text.plan_lines("alpha", advice.plan)
    assert lines[0] == "Plan: alpha, fine-tune from stage3"
    assert lines[1] == "  head" and "    augment digits: strokes" in lines
    assert "    rate 0.003" in lines and "    unfreeze stage3: the default" in "\n".join(lines)
    default = dataclasses.replace(advice, plan=rules.plan(FACTS))
    assert advice_text.plan_lines("alpha", default.plan)[0].endswith(
        "fine-tune from stage3 (the default)"
    )


def test_what_to_expect(advice):
    assert advice.expected == [
        "Expect 92 % right (86 to 95) on 150 images not seen, from the probe's 90.0 %,",
        "after about 1.5 minutes (1.1 to 2.0; it stops by itself).",
    ]


def test_all_parts_are_printed(advice):
    said = str(advice)
    for part in (advice_text.where(advice.facts, FIRST), advice_text.stage_table(WORSE, 1000),
                 advice_text.ranking(advice.candidates),
                 advice_text.plan_lines("alpha", advice.plan),
                 advice.expected, ["a note"]):  # fmt: skip
        assert "\n".join(part) in said


def test_what_fine_tune_says_first(advice):
    lines = list(advice_text.brief(advice.facts, advice.plan))
    assert lines[0] == (
        "Advice: fine-tune from stage3. 1,200 images in 5 classes (much data), domain unclear, "
        "linear probe 90.0 %. The lectures' rule: fine-tune a few layers."
    )
    assert lines[1].startswith("  fine-tune.unfreeze: the default")
    assert lines[2:] == ["  augmentation digits: strokes"]
    few = changed(images=30)
    lines = list(advice_text.brief(few, rules.plan(few)))
    assert lines[1].startswith("  head.epochs: ") and not any("augmentation" in x for x in lines)
    far = changed(domain="different", distance=0.9)
    lines = list(advice_text.brief(far, rules.plan(far)))
    assert [x.split(":")[0] for x in lines[1:]] == ["  fine-tune.unfreeze",
                                                    "  fine-tune.batch_norm"]  # fmt: skip


def test_numbers_are_plain_and_under_their_names(advice):
    found = json.loads(json.dumps(advice.numbers()))
    assert found["accuracy"] == [0.915, 0.86, 0.95] and found["seen"] == 1000
    assert found["minutes"] == list(advice.minutes) and found["notes"] == ["a note"]
    assert found["facts"]["policy"] == "digits" and found["kind"]["name"] == "handwriting"
    assert [phase["name"] for phase in found["phases"]] == ["head", "fine-tune"]
    assert found["cost"]["phases"][1]["epoch"] == 6.0
    first, second, third = found["candidates"]
    assert (first["name"], first["weights"], first["size"]) == ("alpha", "weights of alpha", 96)
    assert [one["tied"] for one in (first, second, third)] == [True, True, False]
    assert second["behind"]["high"] == 0.22 and not first["behind"]
    assert first["domain"]["distance"] == pytest.approx(0.45)
    high = first["stages"]["high"]
    assert (high["linear"]["value"], high["knn"]["value"], high["logme"]) == (0.9, 0.6, 0.5)
    assert high["linear"]["low"] == pytest.approx(0.85)


def test_the_page_marks_the_cell_and_shows_what_was_measured(advice):
    page = advice_page.render(advice)
    assert re.findall(r'class="here">([^<]*)<', page) == ["fine-tune a few layers"]
    words = re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL)
    heads = re.findall(r"<tr><th>(alpha|beta|gamma)</th><td>([^<]*)</td>", words)
    assert heads == [(one.name, advice_text.standing(one)) for one in advice.candidates]
    row = "<tr><th>low</th><td>40.0 (35.0 to 43.0)</td><td>30.0 (25.0 to 33.0)</td><td>-0.250"
    assert words.count(row) == 3
    assert "2.50 M" in words and "300 M" in words and "120" in words and "0.25 J" in words
    assert "first sign" in words and "a note" in words and "Expect 92 % right" in words
    assert page.count("<svg") == 4 and "http" not in page
    for name in ("alpha", "beta", "gamma"):
        (figure,) = re.findall(rf'<svg role="img" aria-label="stages of {name}".*?</svg>', page,
                               flags=re.DOTALL)  # fmt: skip
        assert re.search(rf">\s*{name}\s*</text>", figure)


def test_stages_are_drawn_with_their_intervals():
    axes = charts.stages(FIRST).axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["low", "high"]
    linear, knn = (bars.lines[0].get_ydata() for bars in axes.containers)
    np.testing.assert_allclose(linear, [40, 90])
    np.testing.assert_allclose(knn, [30, 60])
    (segments,) = axes.containers[0].lines[2]
    np.testing.assert_allclose([part[:, 1] for part in segments.get_segments()],
                               [[35, 43], [85, 93]])  # fmt: skip
    words = [text.get_text() for text in axes.get_legend().get_texts()]
    assert words == ["linear probe", "nearest neighbours"]


def test_accuracy_is_drawn_against_cost():
    axes = charts.accuracy_against_cost((FIRST, TIED, WORSE)).axes[0]
    assert axes.get_xscale() == "log" and [t.get_text() for t in axes.texts] == [
        "alpha", "beta", "gamma"
    ]  # fmt: skip
    points = [dots.get_offsets()[0] for dots in axes.collections]
    np.testing.assert_allclose(points, [(300, 90), (600, 80), (30, 70)])
    colours = [to_hex(dots.get_facecolor()[0]) for dots in axes.collections]
    assert colours == [figures.BLUE, figures.BLUE, figures.GRAY]
    np.testing.assert_allclose([line.get_ydata() for line in axes.lines],
                               [(85, 93), (75, 83), (65, 73)])  # fmt: skip
    big = dataclasses.replace(FIRST, cost=dataclasses.replace(FIRST.cost, parameters=9_000_000))
    axes = charts.accuracy_against_cost((FIRST, big)).axes[0]
    areas = [float(dots.get_sizes()[0]) for dots in axes.collections]
    assert areas == [30 + 40 * 2.5, 30 + 40 * 9]


def test_the_cost_in_words():
    assert str(FIRST.cost) == (
        "2.50 M parameters, 300 M multiply-adds, 120 images/s here, export about 10 MB, energy "
        "about 0.25 J an image (estimate: 10 W a core)"
    )
