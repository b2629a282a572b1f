"""Figures show the numbers they are given: places, heights and words, from cases made by hand."""

import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgba

from tlkit.labels import charts
from tlkit.pages import charts as plots
from tlkit.pages import figures

MATRIX = [[8, 2, 0], [1, 0, 5], [0, 3, 1]]  # rows are true; no two mistakes are alike
NAMES = ["zebra", "ant", "moth"]


def test_counts_stand_at_true_row_and_predicted_column():
    axes = plots.confusion_matrix(MATRIX, NAMES).axes[0]
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert written == {(0, 0): "8", (1, 0): "2", (0, 1): "1", (2, 1): "5", (1, 2): "3", (2, 2): "1"}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == NAMES
    shades = np.asarray(axes.images[0].get_array())[..., 3]
    expected = np.array([[0.8, np.sqrt(0.2), 0], [np.sqrt(1 / 6), 0, np.sqrt(5 / 6)],
                         [0, np.sqrt(0.75), 0.25]])  # fmt: skip
    np.testing.assert_allclose(shades, 0.9 * expected)
    inks = {text.get_position(): text.get_color() for text in axes.texts}
    assert inks[(0, 0)] == "white" and inks[(2, 2)] == figures.INK


def test_the_classes_with_most_mistakes_are_kept_with_their_counts():
    matrix = np.eye(61, dtype=int) * 9
    matrix[50, 7], matrix[3, 60] = 4, 2
    axes = plots.confusion_matrix(matrix, [f"c{i}" for i in range(61)]).axes[0]
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert len(shown) == 40 and {"c50", "c7", "c3", "c60"} <= set(shown)
    assert shown == sorted(shown, key=lambda name: int(name[1:]))
    shades = np.asarray(axes.images[0].get_array())[..., 3]
    # A share is of all images of the class, also of what is not drawn.
    assert shades[shown.index("c50"), shown.index("c7")] == pytest.approx(0.9 * (4 / 13) ** 0.5)
    assert shades[shown.index("c7"), shown.index("c50")] == 0
    whole = plots.confusion_matrix(np.eye(60, dtype=int), [f"c{i}" for i in range(60)]).axes[0]
    assert len(whole.get_yticklabels()) == 60


HISTORY = [
    {"phase": "head", "loss": 1.0, "val_loss": 0.9, "accuracy": 0.5, "val_accuracy": 0.6},
    {"phase": "head", "loss": 0.8, "val_loss": 0.7, "accuracy": 0.6, "val_accuracy": 0.8},
    {"phase": "upper", "loss": 0.5, "val_loss": 0.8, "accuracy": 0.7, "val_accuracy": 0.9},
    {"phase": "upper", "loss": 0.4, "val_loss": 0.75, "accuracy": 0.8, "val_accuracy": 0.7},
    {"phase": "all", "loss": 0.3, "val_loss": 0.85, "accuracy": 0.9, "val_accuracy": 0.65},
]


def test_the_best_epoch_is_that_of_the_loss_on_any_curve():
    axes = plots.learning_curve(HISTORY, "accuracy").axes[0]
    lines = {line.get_label(): line.get_xydata() for line in axes.lines}
    np.testing.assert_allclose(lines["best, epoch 2"], [(2, 0.8)])
    np.testing.assert_allclose(lines["training"][:, 1], [0.5, 0.6, 0.7, 0.8, 0.9])
    np.testing.assert_allclose(
        lines["validation"], [(1, 0.6), (2, 0.8), (3, 0.9), (4, 0.7), (5, 0.65)]
    )
    colours = {line.get_label(): line.get_color() for line in axes.lines}
    assert (colours["training"], colours["validation"]) == (figures.ORANGE, figures.BLUE)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "accuracy")


def test_phases_are_bands_from_their_first_epoch_to_their_last():
    axes = plots.learning_curve(HISTORY, "loss").axes[0]
    (band,) = axes.patches
    assert (band.get_x(), band.get_width()) == (2.5, 2.0)
    places = {text.get_text(): text.xy[0] for text in axes.texts}
    assert places == {"head": 1.5, "upper": 3.5, "all": 5.0}


def test_reliability_bars_lie_between_what_is_said_and_what_is_right():
    bins = [
        {"low": 0.4, "high": 0.6, "count": 9, "confidence": 0.45, "accuracy": 0.3},
        {"low": 0.8, "high": 1.0, "count": 10, "confidence": 0.9, "accuracy": 0.95},
    ]
    figure = plots.reliability_diagram(bins)
    bars = [
        (round(bar.get_x() + bar.get_width() / 2, 6), bar.get_y(), bar.get_height(),
         to_hex(bar.get_facecolor()))
        for bar in figure.axes[0].patches if bar.get_height() > 0
    ]  # fmt: skip
    assert bars == [
        (0.5, 0, 0.3, figures.BLUE), (0.9, 0, 0.9, figures.BLUE),
        (0.9, 0.9, pytest.approx(0.05), figures.GREEN),
        (0.5, 0.3, pytest.approx(0.15), figures.RED),
    ]  # fmt: skip
    faint, clear = (bar.get_facecolor()[3] for bar in figure.axes[0].patches[:2])
    assert faint < 0.5 < clear, "nine images say little, ten more"
    assert [bar.get_height() for bar in figure.axes[1].patches] == [9, 10]
    assert (figure.axes[0].get_ylabel(), figure.axes[1].get_xlabel()) == (
        "share right",
        "confidence",
    )


def test_only_the_smallest_classes_and_the_lowest_recalls_are_shown():
    counts = {"train": {f"c{i}": 100 - i for i in range(45)}, "val": {"c0": 5, "c44": 1}}
    axes = plots.class_balance(counts).axes[0]
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert shown == [f"c{i}" for i in range(5, 45)]
    assert axes.get_title("left") == "the 40 smallest of 45 classes"
    last = axes.patches[79]
    assert (last.get_x(), last.get_width()) == (56, 1)
    rows = [{"name": f"c{i}", "recall": i / 50, "support": 7} for i in range(45)][::-1]
    axes = plots.recall_bars(rows).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()][:2] == ["c0", "c1"]
    assert len(axes.get_yticklabels()) == 40
    assert [bar.get_width() for bar in axes.patches[40:43]] == pytest.approx([0, 0.02, 0.04])
    assert axes.get_ylim()[0] > axes.get_ylim()[1], "the first is on top"


def test_the_rate_test_draws_losses_and_the_suggestion():
    rates, losses = np.geomspace(1e-5, 1, 6), np.array([2.0, 2.2, 1.5, 1.0, 3.0, 9.0])
    smooth = np.array([2.0, 2.1, 1.8, 1.2, 2.0, 6.0])
    axes = plots.range_test(rates, losses, smooth, 3e-3).axes[0]
    each, smoothed, mark = axes.lines
    np.testing.assert_allclose(each.get_xydata(), np.stack([rates, losses], 1))
    np.testing.assert_allclose(smoothed.get_ydata(), smooth)
    assert mark.get_xdata()[0] == 3e-3 and mark.get_label() == "steepest fall: 0.003"
    assert axes.get_xscale() == "log" and axes.get_ylim() == (0, pytest.approx(1.4 * 2.1))
    assert len(plots.range_test(rates, losses, smooth, None).axes[0].lines) == 2


def test_the_map_shows_each_class_and_rings_the_doubtful():
    points = np.array([[0, 0], [1, 0], [0, 1], [5, 5], [6, 5]], float)
    labels, doubtful = np.array([2, 2, 0, 0, 2]), np.array([0, 1, 0, 1, 0], bool)
    figure = charts.data_map(points, labels, ("zebra", "ant", "mo$th"), doubtful)
    groups = {dots.get_label(): dots for dots in figure.axes[0].collections}
    assert list(groups) == ["zebra", r"mo\$th", "label in doubt"]
    np.testing.assert_array_equal(groups["zebra"].get_offsets(), points[[2, 3]])
    np.testing.assert_array_equal(groups[r"mo\$th"].get_offsets(), points[[0, 1, 4]])
    rings = groups["label in doubt"]
    np.testing.assert_array_equal(rings.get_offsets(), points[[1, 3]])
    assert tuple(rings.get_edgecolor()[0]) == to_rgba(figures.INK)
    first, second = (tuple(groups[name].get_facecolor()[0]) for name in ("zebra", r"mo\$th"))
    assert first != second
    calm = charts.data_map(points, labels, ("a", "b", "c"), np.zeros(5, bool))
    assert len(calm.axes[0].collections) == 2
    many = charts.data_map(np.zeros((21, 2)), np.arange(21), [str(i) for i in range(21)],
                                np.zeros(21, bool))  # fmt: skip
    assert not many.legends and calm.legends
