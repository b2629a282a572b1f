"""A reader of pages, and the facts of a run in the states it can be in, for tests of its page."""

import dataclasses
import datetime
from html.parser import HTMLParser

import numpy as np

from tlkit.evaluation.metrics import evaluate, softmax
from tlkit.workflows.run_facts import (
    DataFacts,
    EpochFacts,
    PhaseFacts,
    Picture,
    RunFacts,
    Settings,
)

VOID = {"meta", "img", "br", "hr", "input", "link"}


class Page(HTMLParser):
    """Reads a page, fails on tags that do not match, and keeps text and attributes."""

    def __init__(self, html):
        super().__init__()
        self.open, self.attributes, self.words, self.tags = [], [], [], []
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def evaluation(n=60, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), labels] += 2
    return evaluate(softmax(logits), labels, ["ant", "bee", "cat"][:classes], bootstrap=50)


def picture(**change):
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    one = Picture(pixels, "ants/one.jpg", "ant", "ant", probability=0.93, true_probability=0.93)
    return dataclasses.replace(one, **change)


def settings(**change):
    one = Settings(
        task="Three kinds of insects", backbone="mobilenet_v2", weights="imagenet", size=160,
        resize="crop", channels=3, head="linear", seed=1234,
        started=datetime.datetime(2026, 11, 20, 14, 2), seconds=252, folder="runs/insects",
        phases={"head": "adamw, rate 0.001"}, stopped="",
    )  # fmt: skip
    return dataclasses.replace(one, **change)


def insects(**change):
    counts = {
        "train": {"ant": 30, "bee": 20, "cat": 9},
        "val": {"ant": 5, "bee": 5, "cat": 5},
        "test": {"ant": 5, "bee": 5, "cat": 0},
    }
    one = DataFacts(("ant", "bee", "cat"), counts, warnings=(), quarantine=(), skipped={})
    return dataclasses.replace(one, **change)


def phase(**change):
    one = PhaseFacts(
        name="head", from_stage="head only", trainable=3843, total=2_261_827, epochs=4,
        best_epoch=3, rates=(1e-3,), views=3, seconds=41.2, frozen_equal=True,
    )  # fmt: skip
    return dataclasses.replace(one, **change)


def epoch(number, **change):
    one = EpochFacts(
        number, "head", loss=1.0, accuracy=0.5, val_loss=1.1, val_accuracy=0.4,
        learning_rate=1e-3, best=False,
    )  # fmt: skip
    return dataclasses.replace(one, **change)


def young(**change):
    """The facts of a run that has not trained yet: nothing found, nothing judged, no mistake."""
    one = RunFacts(
        title="Insects", settings=settings(), data=insects(), phases=(), history=(),
        evaluations={}, temperature=1.0, samples=(picture(),), mistakes=(),
        versions={"keras": "3.15.1"}, usage={"Python": "import tlkit\ntlkit.load('x')"},
    )  # fmt: skip
    return dataclasses.replace(one, **change)


def full():
    """The facts of a run that has all there can be."""
    found = insects(
        warnings=("cat has 9 images",),
        quarantine=(("ants/broken.jpg", "truncated"), ("bees/bad.png", "empty")),
        skipped={".txt": 3},
    )
    upper = phase(name="upper", rates=(1e-4, 1e-5), frozen_equal=False)
    return young(
        settings=settings(stopped="The loss became nan in epoch 3."),
        data=found,
        phases=(phase(), upper, phase(name="all", views=None, frozen_equal=None)),
        history=(epoch(0), epoch(1, phase="upper", loss=0.5, best=True)),
        evaluations={"val": evaluation(seed=1), "test": evaluation()},
        temperature=1.37,
        mistakes=(picture(predicted="bee", probability=0.88, true_probability=0.02),),
    )
