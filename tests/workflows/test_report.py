import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from tlkit import text as formats
from tlkit.errors import TlkitError
from tlkit.evaluation.metrics import Evaluation, evaluate, softmax
from tlkit.workflows import run_page

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
    row = {"image": pixels, "file": "ants/one.jpg", "true": "ant", "predicted": "ant"}
    return row | {"probability": 0.93, "true_probability": 0.93} | change


def full_context():
    return {
        "title": "Insects",
        "run": {
            "task": "Three kinds of insects",
            "backbone": "mobilenet_v2",
            "weights": "imagenet",
            "size": 160,
            "seconds": 252,
            "started": "2026-11-20 14:02",
            "seed": 1234,
            "augmentation": {"flip": True, "zoom": 0.1},
        },
        "data": {
            "class_names": ["ant", "bee", "cat"],
            "counts": {"train": {"ant": 30, "bee": 20, "cat": 9}, "test": {"ant": 5}},
            "warnings": ["cat has 9 images"],
            "quarantine": [{"file": "ants/broken.jpg", "reason": "truncated"}, "bees/bad.png"],
            "duplicates": [["ants/a.jpg", "ants/b.jpg"]],
            "skipped": {".txt": 3},
        },
        "phases": [
            {
                "name": "head",
                "from_stage": "head",
                "trainable": 3843,
                "total": 2_261_827,
                "epochs": 4,
                "best_epoch": 3,
                "rates": 1e-3,
                "views": 3,
                "seconds": 41.2,
                "frozen_equal": True,
            },
            {"name": "upper", "rates": [1e-5, 1e-4], "frozen_equal": False},
            {"name": "all", "frozen_equal": None},
        ],
        "history": [
            {"epoch": 1, "phase": "head", "loss": 1.0, "accuracy": 0.5, "val_loss": 1.1},
            {"epoch": 2, "phase": "upper", "loss": 0.5, "accuracy": 0.8, "best": True},
        ],
        "evaluations": {"val": evaluation(seed=1), "test": Evaluation(evaluation())},
        "temperature": 1.37,
        "samples": [picture()],
        "mistakes": [picture(predicted="bee", probability=0.88, true_probability=0.02)],
        "versions": {"keras": "3.15.1"},
        "usage": {"Python": "import tlkit\ntlkit.load('x')"},
    }


@pytest.fixture(scope="module")
def html():
    return run_page.render(full_context())


def test_page_is_well_formed_and_says_everything(html):
    page = Page(html)
    for words in (
        "Insects",
        "Three kinds of insects",
        "mobilenet_v2",
        "160 px, weights: imagenet",
        "4 min 12 s",
        "1 thing to know",
        "cat has 9 images",
        "2 files in quarantine",
        "ants/broken.jpg truncated",
        "bees/bad.png",
        "1 group of duplicate images",
        ".txt: 3",
        "3,843 (0.2 %)",
        "1e-05 to 0.0001 by depth",
        "✓ bit-equal",
        "✗ moved",
        "accuracy on 60 test images",
        "balanced accuracy",
        "temperature of 1.37",
        "flip: yes, zoom: 0.1",
        "1234",
        "3.15.1",
        "tlkit.load('x')",
    ):
        assert words in page.text, words
    assert page.tags.count("svg") == 6


def test_headline_is_the_test_accuracy_with_its_interval(html):
    accuracy = evaluation()["accuracy"]
    text = Page(html).text
    assert f"{100 * accuracy['value']:.1f} % accuracy on 60 test images" in text
    low, high = f"{100 * accuracy['low']:.1f}", f"{100 * accuracy['high']:.1f}"
    assert f"95 % interval: {low} to {high} %" in text


def test_page_needs_nothing_from_outside(html):
    assert not re.search(r"https?:|//[a-z]|@import|<script|<link", html)
    for name, value in Page(html).attributes:
        if name in ("src", "href", "xlink:href", "data", "srcset"):
            assert value.startswith(("data:image/", "#")), (name, value[:60])
    assert all(inside.startswith("#") for inside in re.findall(r"url\(([^)]*)\)", html))


def test_links_and_identifiers_agree(html):
    attributes = Page(html).attributes
    identifiers = [value for name, value in attributes if name == "id"]
    assert len(identifiers) == len(set(identifiers))
    links = {value[1:] for name, value in attributes if name == "href" and value[0] == "#"}
    assert links <= set(identifiers)


def test_pictures_are_thumbnails_inside_the_page():
    big = np.full((1500, 3000, 3), (200, 30, 40), np.uint8)
    page = Page(run_page.render({"samples": [picture(image=big)]}))
    (source,) = [value for name, value in page.attributes if name == "src"]
    shown = Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))
    assert shown.size == (240, 120)
    np.testing.assert_allclose(np.asarray(shown).mean(axis=(0, 1)), (200, 30, 40), atol=3)


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (8, 8, 3), (8, 8, 4), (8, 8, 2)])
def test_small_and_gray_pictures_keep_their_pixels(shape):
    pixels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    html = run_page.render({"samples": [picture(image=pixels)]})
    source = re.search(r'src="data:image/png;base64,([^"]*)" alt="one.jpg" class="tiny"', html)[1]
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(source))))
    np.testing.assert_array_equal(shown[..., 0], pixels if pixels.ndim == 2 else pixels[..., 0])


def test_mistakes_are_red_and_name_the_truth(html):
    tile = html[html.index('class="tile wrong"') :]
    text = Page(tile[: tile.index("</figure>")].partition(">")[2]).text
    assert "✗ bee 88 % is ant 2 %" in text
    assert html.count('class="tile wrong"') == 1 and html.count('class="tile"') == 1


def test_markup_in_names_is_text():
    evil = "<b>x\"'&.jpg"
    result = evaluation() | {"class_names": [evil, "bee", "cat"]}
    result["per_class"][0]["name"] = evil
    html = run_page.render(
        {
            "title": evil,
            "run": {"task": evil, "backbone": evil, evil: evil},
            "data": {
                "class_names": [evil],
                "counts": {"train": {evil: 3}},
                "warnings": [evil],
                "quarantine": [{"file": evil, "reason": evil}],
                "duplicates": [[evil, evil]],
                "skipped": {evil: 1},
            },
            "phases": [{"name": evil, "from_stage": evil}],
            "history": [{"epoch": 1, "phase": evil, "loss": 1.0, "val_loss": 1.0}],
            "evaluations": {"test": result},
            "samples": [picture(file=evil, true=evil, predicted="bee")],
            "mistakes": [picture(file=evil, predicted=evil)],
            "versions": {evil: evil},
            "usage": {evil: evil},
        }
    )
    page = Page(html)
    assert "<b>x" not in html and "<b>x" in page.text
    # Quotes stay inside their attribute: no attribute starts with what follows one.
    assert not [name for name, _ in page.attributes if name.startswith(("'", "&", ".jpg"))]


@pytest.mark.parametrize("missing", [*run_page.EMPTY, None])
def test_any_part_may_be_missing(missing, monkeypatch):
    monkeypatch.setattr(run_page.plots, "to_svg", lambda figure, title: "<svg></svg>")
    context = {key: value for key, value in full_context().items() if key != missing}
    Page(run_page.render(context))


@pytest.mark.parametrize("only", list(run_page.EMPTY))
def test_any_part_may_stand_alone(only):
    page = Page(run_page.render({only: full_context()[only]}))
    assert page.text
    links = {value[1:] for name, value in page.attributes if name == "href" and value[0] == "#"}
    assert links <= {value for name, value in page.attributes if name == "id"}


def test_empty_and_none_values():
    assert Page(run_page.render({})).tags.count("section") == 0
    assert run_page.render(dict.fromkeys(run_page.EMPTY)) == run_page.render({})
    Page(run_page.render({"samples": [{"true": "ant"}], "phases": [{}], "history": [{}]}))


def test_without_a_test_set_the_page_warns_and_without_evaluation_it_says_so():
    page = Page(run_page.render({"evaluations": {"val": evaluation()}}))
    assert "accuracy on 60 val images" in page.text and "expect less" in page.text
    page = Page(run_page.render({"history": [{"val_accuracy": 0.912}, {"val_accuracy": 0.9}]}))
    assert "91.2 %" in page.text and "Not evaluated yet." in page.text


def test_all_clear_is_said_only_when_checks_ran():
    counts = {"train": {"ant": 3}}
    words = "found nothing to warn about"
    assert words not in run_page.render({"data": {"counts": counts}})
    assert words in run_page.render({"data": {"counts": counts, "warnings": []}})
    bad = {"counts": counts, "warnings": [], "quarantine": ["x.jpg"]}
    assert words not in run_page.render({"data": bad})


def test_absent_classes_are_named():
    result = evaluate(np.eye(3)[[0, 1]], [0, 1], ["ant", "bee", "cat"], bootstrap=0)
    assert "No test images of cat" in Page(run_page.render({"evaluations": {"test": result}})).text


def test_long_lists_are_cut_and_counted():
    data = {"quarantine": [f"{i}.jpg" for i in range(200)], "warnings": ["w"] * 60}
    text = Page(run_page.render({"data": data})).text
    assert "and 150 more, all in quarantine.csv" in text and "and 10 more" in text
    html = run_page.render({"mistakes": [picture(image=None)] * 80})
    assert html.count('class="none"') == run_page.LISTED


def test_unknown_entry_gets_a_suggestion():
    with pytest.raises(TlkitError, match=r"'evaluation'.*Did you mean 'evaluations'"):
        run_page.render({"evaluation": {}})


def test_write_is_the_rendered_page(tmp_path):
    path = tmp_path / "runs" / "report.html"
    run_page.write(path, {"title": "Käfer"})
    assert path.read_text(encoding="utf-8") == run_page.render({"title": "Käfer"})
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, formats.DASH),
        (3.14, "3.1 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (3930, "1 h 05 min"),
    ],
)
def test_duration(seconds, text):
    assert formats.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, formats.DASH),
        (True, "yes"),
        (12345, "12,345"),
        (1e-5, "1e-05"),
        ([1, 2.5], "1, 2.5"),
        ({"a": None}, f"a: {formats.DASH}"),
        ("plain", "plain"),
    ],
)
def test_compact(value, text):
    assert formats.compact(value) == text
