"""The figures and tables of a search show the numbers they are given."""

import math

import numpy as np
import pytest
from matplotlib.colors import to_hex

from tests.searches import LINE
from tlkit.pages.figures import BLUE, GRAY, ORANGE
from tlkit.tuning import charts
from tlkit.tuning import page as search_report
from tlkit.tuning.result import SearchResult
from tlkit.tuning.space import Row, Space
from tlkit.tuning.study import Trial

LOSSES = [0.8, 0.9, None, 0.4, 0.6, 0.5]


def trials():
    """Six trials, the third of which failed."""
    made = []
    for number, loss in enumerate(LOSSES):
        settings = {"unfreeze": "none", "head_rate": 10 ** (-3 + 0.4 * number)}
        status = "done" if loss is not None else "failed"
        made.append(Trial(number, settings, status=status, loss=loss, accuracy=0.5, seconds=2.0))
        made[-1].curve = [] if loss is None else [loss + 0.2, loss + 0.1]
    return made


def colours(lines):
    return [to_hex(line.get_color()) for line in lines]


def test_progress_shows_every_loss_the_best_so_far_and_what_failed():
    (axes,) = charts.progress(trials()).axes
    dots, best, lost = axes.lines
    np.testing.assert_array_equal(dots.get_xydata(), [
        [0, 0.8], [1, 0.9], [3, 0.4], [4, 0.6], [5, 0.5]
    ])  # fmt: skip
    assert best.get_xdata().tolist() == [0, 1, 3, 4, 5]
    assert best.get_ydata().tolist() == [0.8, 0.8, 0.4, 0.4, 0.4]
    assert lost.get_xdata().tolist() == [2] and lost.get_marker() == "x"


def test_one_diverged_trial_does_not_flatten_the_rest():
    made = [*trials(), Trial(6, {}, loss=80.0, curve=[90.0, 80.0])]
    (axes,) = charts.progress(made).axes
    low, high = axes.get_ylim()
    assert 0 < low < 0.4 and 0.9 < high < 3
    assert charts.progress([]).axes and charts.curves([]).axes  # nothing yet


def test_the_best_curve_is_blue_and_on_top_and_the_default_orange():
    (axes,) = charts.curves(trials()).axes
    shown = {line.get_label(): to_hex(line.get_color()) for line in axes.lines}
    assert shown["trial 3, the best"] == to_hex(BLUE) and shown["default"] == to_hex(ORANGE)
    assert colours(axes.lines).count(to_hex(GRAY)) == 3
    assert axes.lines[-1].get_ydata().tolist() == pytest.approx([0.6, 0.5])
    assert axes.lines[-1].get_xdata().tolist() == [1, 2]


def test_the_best_fifth_of_the_lines_is_blue_and_a_row_that_did_not_matter_a_gap():
    (axes,) = charts.parallel(trials(), LINE).axes
    lines = axes.lines[:5]
    assert colours(lines) == [to_hex(c) for c in (GRAY, ORANGE, GRAY, GRAY, BLUE)]
    unfreeze, rate, head_rate = lines[-1].get_ydata()
    assert unfreeze == pytest.approx(0, abs=0.02) and math.isnan(rate)
    assert head_rate == pytest.approx((math.log10(10**-1.8) + 3) / 2)  # from 10^-3 to 10^-1
    assert [label.get_text() for label in axes.get_xticklabels()] == [
        "unfreeze", "rate", "head_rate"
    ]  # fmt: skip


SPACE = Space((
    Row("weight_decay", low=1e-4, high=1e-2, log=True),
    Row("smoothing", (0.0, 0.1)),
    Row("rate", low=1e-5, high=1e-1, log=True),
    Row("dropout", low=0.0, high=0.6),
    Row("schedule", ("cosine",)),
))  # fmt: skip


def many(count, loss, share=1.0):
    """Trials with random settings whose loss is a formula of them."""
    draw = np.random.default_rng(0)
    made = []
    for number in range(count):
        settings = {
            "rate": 10 ** draw.uniform(-5, -1), "dropout": draw.uniform(0, 0.6),
            "weight_decay": 10 ** draw.uniform(-4, -2), "smoothing": 0.1 * draw.integers(2),
        }  # fmt: skip
        made.append(Trial(number, settings, share=share, loss=loss(settings, draw)))
    return made


def by_rate(settings, draw):
    return 0.2 + (math.log10(settings["rate"]) + 3) ** 2 + 0.5 * settings["dropout"]


def test_the_row_that_decides_is_the_most_important():
    found = charts.importances(many(60, by_rate), SPACE)
    order = sorted(found["rows"], key=lambda name: -found["rows"][name][0])
    assert order[0] == "rate" and set(order) == {row.name for row in SPACE.searched}
    assert found["rows"]["rate"][0] > 5 * found["rows"][order[1]][0]
    assert found["oob"] > 0.5 and found["note"] == ""
    (axes,) = charts.importance(found).axes
    assert [label.get_text() for label in axes.get_yticklabels()][-1] == "rate"  # on top
    assert axes.patches[-1].get_width() == pytest.approx(found["rows"]["rate"][0])


def test_a_forest_that_has_learnt_nothing_says_so():
    found = charts.importances(many(40, lambda settings, draw: draw.uniform(1, 2)), SPACE)
    assert found["oob"] < 0.1 and "may be chance" in found["note"]


def test_too_few_whole_trials_have_no_importance():
    short = many(30, by_rate, share=1 / 3)
    found = charts.importances([*many(14, by_rate), *short], SPACE)
    assert found["rows"] == {} and "14 full trials are too few" in found["note"]
    assert charts.importances(many(15, by_rate), SPACE)["rows"]


def test_the_page_has_a_row_for_each_trial_the_best_first(tmp_path):
    made = trials()
    made[1].message, made[1].batch_size, made[4].share = "a <remark>", 8, 1 / 9
    found = SearchResult(tmp_path, made, verdict="nobody <won>")
    path = search_report.write(tmp_path, found, LINE)
    page = path.read_text()
    assert path == tmp_path / "report.html"
    rows = page[page.index("All trials") : page.index("The space")]
    numbers = [int(cell.split("<")[0]) for cell in rows.split('<td class="k">')[1:]]
    assert numbers == [3, 5, 4, 0, 1, 2]
    assert "a &lt;remark&gt; batch halved to 8" in rows and "11 % of the epochs" in rows
    assert "12 seconds of trials" in rows and "nobody &lt;won&gt;" in page
    assert "no test images" in page and page.count("<svg") == 3
    space = page[page.index("The space") :]
    assert "1e-05 to 0.1, logarithmic" in space and "only where unfreeze is stage3" in space


def test_the_page_shows_what_matters_once_there_are_enough_trials(tmp_path):
    found = SearchResult(tmp_path, many(16, by_rate))
    page = search_report.render(found, SPACE)
    assert page.count("<svg") == 4 and "Permutation importance" in page
