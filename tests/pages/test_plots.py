import io
import xml.etree.ElementTree as ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from tlkit.evaluation.metrics import evaluate, softmax
from tlkit.pages import charts, figures

HISTORY = [
    {"epoch": 1, "phase": "head", "loss": 1.0, "val_loss": 1.1, "accuracy": 0.5},
    {"epoch": 2, "phase": "head", "loss": 0.8, "val_loss": 0.7, "accuracy": 0.6},
    {"epoch": 3, "phase": "upper", "loss": 0.5, "val_loss": None, "accuracy": 0.7},
    {"epoch": 4, "phase": "upper", "loss": 0.4, "val_loss": 0.9, "accuracy": 0.8},
]


def evaluation(classes, n=300):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), labels] += 3
    return evaluate(softmax(logits), labels, [f"kind {i}" for i in range(classes)], bootstrap=0)


def rendered(figure):
    """Returns the figure as pixels, which also runs its layout."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=60)
    return np.asarray(Image.open(buffer).convert("RGBA"))


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_learning_curve_draws_both_lines_phases_and_the_best_epoch():
    figure = charts.learning_curve(HISTORY, "loss")
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    np.testing.assert_array_equal(lines["training"].get_ydata(), [1.0, 0.8, 0.5, 0.4])
    np.testing.assert_array_equal(lines["validation"].get_ydata(), [1.1, 0.7, np.nan, 0.9])
    assert list(lines["best, epoch 2"].get_ydata()) == [0.7]
    assert texts(figure) == ["head", "upper"]


def test_learning_curve_believes_the_flag_before_the_loss():
    history = [*HISTORY[:3], HISTORY[3] | {"best": True}]
    labels = [line.get_label() for line in charts.learning_curve(history, "loss").axes[0].lines]
    assert "best, epoch 4" in labels and "best, epoch 2" not in labels


def test_learning_curve_without_validation_or_epochs():
    history = [{"phase": "head", "loss": 1.0}]
    assert len(charts.learning_curve(history, "loss").axes[0].lines) == 1
    rendered(charts.learning_curve([], "loss"))


@pytest.mark.parametrize("classes", [2, 5, 20, 60])
def test_confusion_matrix_names_every_class(classes):
    result = evaluation(classes)
    figure = charts.confusion_matrix(result["confusion"], result["class_names"])
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == result["class_names"]
    nonzero = np.count_nonzero(result["confusion"])
    assert len(axes.texts) == (nonzero if classes <= 20 else 0)
    assert rendered(figure).std() > 0


def test_labels_of_the_largest_confusion_matrix_do_not_overlap():
    result = evaluation(60)
    figure = charts.confusion_matrix(result["confusion"], result["class_names"])
    rendered(figure)
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    steps = -np.diff([(box.y0 + box.y1) / 2 for box in boxes])
    assert min(steps) > 0.8 * max(box.height for box in boxes)


def test_confusion_matrix_shades_by_row_and_tells_right_from_wrong():
    figure = charts.confusion_matrix([[90, 10], [0, 5]], ["many", "few"])
    shades = np.asarray(figure.axes[0].images[0].get_array())
    assert shades[1, 1, 3] > shades[0, 0, 3] > shades[0, 1, 3] > shades[1, 0, 3] == 0
    np.testing.assert_allclose(shades[1, 1, :3], to_rgb(figures.BLUE))
    np.testing.assert_allclose(shades[0, 1, :3], to_rgb(figures.RED))


def test_confusion_matrix_of_many_classes_keeps_the_worst():
    matrix = np.eye(100, dtype=int) * 5
    matrix[77, 3] = 4
    axes = charts.confusion_matrix(matrix, [f"c{i}" for i in range(100)]).axes[0]
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert len(shown) == 40 and {"c3", "c77"} <= set(shown)
    assert axes.get_title("left") == "the 40 of 100 classes with most mistakes"


def test_reliability_bars_add_up_to_the_share_that_is_right():
    bins = [
        {"low": 0.4, "high": 0.5, "count": 20, "confidence": 0.45, "accuracy": 0.3},
        {"low": 0.9, "high": 1.0, "count": 50, "confidence": 0.92, "accuracy": 0.99},
    ]
    figure = charts.reliability_diagram(bins)
    tops = [bar.get_y() + bar.get_height() for bar in figure.axes[0].patches]
    assert max(tops) == pytest.approx(0.99)
    assert [bar.get_height() for bar in figure.axes[1].patches] == [20, 50]
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words == ["right more often than it says", "right less often than it says"]


def test_class_balance_stacks_splits_largest_first():
    axes = charts.class_balance({"train": {"ant": 3, "bee": 9}, "test": {"bee": 1}}).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["bee", "ant"]
    assert [bar.get_width() for bar in axes.patches] == [9, 3, 1, 0]
    assert axes.patches[2].get_x() == 9


def test_recall_bars_sort_and_leave_absent_classes_out():
    rows = [
        {"name": "ant", "recall": 0.9, "support": 10},
        {"name": "bee", "recall": None, "support": 0},
        {"name": "cat", "recall": 0.5, "support": 4},
    ]
    figure = charts.recall_bars(rows)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["cat", "ant"]
    assert texts(figure) == ["50 % of 4", "90 % of 10"]


def test_long_names_are_shortened_and_dollars_stay_dollars():
    names = ["a very long name of a class indeed", "$x_1$"]
    figure = charts.confusion_matrix([[1, 0], [0, 1]], names)
    words = "".join(ElementTree.fromstring(figures.to_svg(figure, "matrix")).itertext())
    assert "a very long … indeed" in words and "$x_1$" in words


def test_svg_is_whole_repeatable_and_carries_no_address():
    figure = charts.learning_curve(HISTORY, "loss")
    svg = figures.to_svg(figure, "Loss <by> epoch")
    root = ElementTree.fromstring(svg)
    assert root.tag == "svg" and root.get("aria-label") == "Loss by epoch"
    assert "http" not in svg and "xmlns" not in svg
    assert svg == figures.to_svg(charts.learning_curve(HISTORY, "loss"), "Loss <by> epoch")


def test_svg_takes_ink_from_the_page_and_has_its_own_identifiers():
    first = figures.to_svg(charts.learning_curve(HISTORY, "loss"), "first")
    second = figures.to_svg(charts.learning_curve(HISTORY, "loss"), "second")
    assert f"var(--ink, {figures.INK})" in first

    def identifiers(svg):
        return {node.get("id") for node in ElementTree.fromstring(svg).iter()} - {None}

    assert not identifiers(first) & identifiers(second)
    for node in ElementTree.fromstring(first).iter():
        target = node.get("href", "").removeprefix("#")
        assert not target or target in identifiers(first)


def test_svg_survives_class_names_with_markup():
    figure = charts.confusion_matrix([[1, 0], [0, 1]], ["<b>x", "y&z"])
    words = "".join(ElementTree.fromstring(figures.to_svg(figure, "matrix")).itertext())
    assert "<b>x" in words and "y&z" in words


def test_figures_leave_the_global_style_alone():
    before = dict(matplotlib.rcParams)
    figures.to_svg(charts.class_balance({"train": {"a": 1}}), "balance")
    assert dict(matplotlib.rcParams) == before


def test_figures_of_nothing_are_drawn():
    rendered(charts.class_balance({}))
    rendered(charts.recall_bars([]))
    rendered(charts.reliability_diagram([]))
