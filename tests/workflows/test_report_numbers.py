"""Which of a run's numbers the page shows where, and in which words."""

import re

import numpy as np
import pytest

from tests.run_values import Page, epoch, evaluation, insects, phase, picture, young
from tlkit.evaluation.metrics import evaluate, headline_text
from tlkit.workflows import run_page


def text(**change):
    return Page(run_page.render(young(**change))).text


def test_the_test_images_are_the_headline_wherever_they_stand():
    test, val = evaluation(n=60), evaluation(n=80, seed=1)
    for both in ({"test": test, "val": val}, {"val": val, "test": test}):
        shown = text(evaluations=both)
        assert "accuracy on 60 test images" in shown and "accuracy on 80" not in shown
        assert "expect less" not in shown
        for name in ("accuracy", "log_loss", "macro_f1"):
            assert headline_text(name, test[name]) in shown
            assert headline_text(name, val[name]) in shown
    assert "expect less" in text(evaluations={"val": val})
    other = text(evaluations={"val": val, "holiday photos": test})
    assert "accuracy on 60 holiday photos images" in other and "expect less" not in other


@pytest.mark.parametrize(
    ("said", "words"),
    [(0.99, "too sure of itself"), (0.60, "less sure than it could be"), (0.81, "as it should be")],
)
def test_how_sure_the_model_is_is_said_in_words(said, words):
    labels = np.repeat([0, 1], 50)
    guess = np.where(np.arange(100) % 5 == 0, 1 - labels, labels)  # 80 % right
    chances = np.full((100, 2), 1 - said)
    chances[np.arange(100), guess] = said
    shown = text(evaluations={"test": evaluate(chances, labels, ["ant", "bee"], bootstrap=0)})
    assert f"the model says {100 * said:.1f} % and is right 80.0 % of the time: {words}." in shown


def test_a_tile_is_red_where_the_guess_is_not_the_truth():
    sure = picture(predicted="bee", probability=0.5, true_probability=0.5)
    right = picture(probability=0.4, true_probability=0.3)
    html = run_page.render(young(samples=(sure, right)))
    assert [found[1] for found in re.finditer(r'<figure class="(tile[^"]*)"', html)] == [
        "tile wrong",
        "tile",
    ]


def test_images_are_counted_over_splits_and_classes():
    counts = {"train": {"ant": 30, "bee": 1020, "cat": 9}, "test": {"ant": 5, "bee": 2, "cat": 0}}
    shown = text(data=insects(counts=counts))
    assert "1,066" in shown and "1,059 train, 7 test" in shown


def curves(history):
    """Returns the curves of the loss and of the accuracy; the bars of the classes come first."""
    page = run_page.render(young(history=tuple(history)))
    return re.findall(r"<svg.*?</svg>", page, re.DOTALL)[1:]


def test_each_curve_is_of_its_own_quantity():
    def rows(loss, accuracy):
        return [
            epoch(i, loss=a, val_loss=a, accuracy=b, val_accuracy=b)
            for i, (a, b) in enumerate(zip(loss, accuracy, strict=True))
        ]

    base = curves(rows([1.0, 0.5, 0.4], [0.5, 0.6, 0.9]))
    other_loss = curves(rows([1.0, 0.9, 0.1], [0.5, 0.6, 0.9]))
    other_accuracy = curves(rows([1.0, 0.5, 0.4], [0.5, 0.8, 0.9]))
    assert [a == b for a, b in zip(base, other_loss, strict=True)] == [False, True]
    assert [a == b for a, b in zip(base, other_accuracy, strict=True)] == [True, False]


def test_a_phase_tells_its_own_numbers():
    tail = phase(
        name="tail", from_stage="conv5", trainable=250, total=1000, epochs=7, best_epoch=5,
        rates=(2e-4, 1e-4), views=3, seconds=62, frozen_equal=None,
    )  # fmt: skip
    shown = text(phases=(tail,))
    assert "tail conv5 250 (25 %) 7 5 0.0001 to 0.0002 by depth 3 1 min 02 s none" in shown


def test_before_any_evaluation_the_best_validation_accuracy_is_the_headline():
    shares = (0.5, 0.912, 0.9)
    shown = text(history=tuple(epoch(i, val_accuracy=x) for i, x in enumerate(shares)))
    assert "91.2 % best validation accuracy while training" in shown
