import base64
import dataclasses
import io
import re

import numpy as np
import pytest
from PIL import Image

from tests.run_values import (
    Page,
    epoch,
    evaluation,
    full,
    insects,
    phase,
    picture,
    settings,
    young,
)
from tlkit import text as formats
from tlkit.evaluation.metrics import evaluate
from tlkit.workflows import run_facts, run_page
from tlkit.workflows.run_facts import DataFacts, RunFacts


@pytest.fixture(scope="module")
def html():
    return run_page.render(full())


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
        "bees/bad.png empty",
        ".txt: 3",
        "3,843 (0.2 %)",
        "1e-05 to 0.0001 by depth",
        "✓ bit-equal",
        "✗ moved",
        "accuracy on 60 test images",
        "balanced accuracy",
        "temperature of 1.37",
        "started 2026-11-20 14:02:00",
        "phase head adamw, rate 0.001",
        "stopped The loss became nan in epoch 3.",
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
    page = Page(run_page.render(young(samples=(picture(image=big),))))
    (source,) = [value for name, value in page.attributes if name == "src"]
    shown = Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))
    assert shown.size == (240, 120)
    np.testing.assert_allclose(np.asarray(shown).mean(axis=(0, 1)), (200, 30, 40), atol=3)


@pytest.mark.parametrize("shape", [(8, 8, 1), (8, 8, 3), (8, 8, 4), (8, 8, 2)])
def test_small_and_gray_pictures_keep_their_pixels(shape):
    pixels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    html = run_page.render(young(samples=(picture(image=pixels),)))
    source = re.search(r'src="data:image/png;base64,([^"]*)" alt="one.jpg" class="tiny"', html)[1]
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(source))))
    kept = pixels[..., :3] if shape[2] >= 3 else np.repeat(pixels[..., :1], 3, axis=2)
    np.testing.assert_array_equal(shown, kept)


def test_mistakes_are_red_and_name_the_truth(html):
    tile = html[html.index('class="tile wrong"') :]
    text = Page(tile[: tile.index("</figure>")].partition(">")[2]).text
    assert "✗ bee 88 % is ant 2 %" in text
    assert html.count('class="tile wrong"') == 1 and html.count('class="tile"') == 1


def test_markup_in_names_is_text():
    evil = "<b>x\"'&.jpg"
    result = evaluation() | {"class_names": [evil, "bee", "cat"]}
    result["per_class"][0]["name"] = evil
    told = young(
        title=evil,
        settings=settings(
            task=evil, backbone=evil, weights=evil, resize=evil, head=evil, folder=evil,
            phases={evil: evil}, stopped=evil,
        ),
        data=DataFacts((evil,), {"train": {evil: 3}}, (evil,), ((evil, evil),), {evil: 1}),
        phases=(phase(name=evil, from_stage=evil),),
        history=(epoch(0, phase=evil),),
        evaluations={"test": result},
        samples=(picture(file=evil, true=evil, predicted="bee"),),
        mistakes=(picture(file=evil, predicted=evil),),
        versions={evil: evil},
        usage={evil: evil},
    )  # fmt: skip
    html = run_page.render(told)
    page = Page(html)
    assert "<b>x" not in html and "<b>x" in page.text
    # Quotes stay inside their attribute: no attribute starts with what follows one.
    assert not [name for name, _ in page.attributes if name.startswith(("'", "&", ".jpg"))]


def test_no_fact_can_be_left_out_or_changed():
    parts = [kind for kind in vars(run_facts).values() if dataclasses.is_dataclass(kind)]
    assert RunFacts in parts
    for kind in parts:
        assert kind.__dataclass_params__.frozen
        for field in dataclasses.fields(kind):
            assert field.default is field.default_factory is dataclasses.MISSING, field.name


def test_a_young_run_has_a_page_of_what_there_is():
    page = Page(run_page.render(young()))
    assert page.tags.count("svg") == 1 and "keras 3.15.1" in page.text
    for words in ("accuracy", "Training", "Results", "Calibration", "Worst mistakes", "stopped"):
        assert words not in page.text, words


@pytest.mark.parametrize("part", ["phases", "history", "evaluations", "mistakes", "data"])
def test_each_part_that_may_be_empty_may_be_so_alone(part, monkeypatch):
    monkeypatch.setattr(run_page.figures, "to_svg", lambda figure, title: "<svg></svg>")
    empty = dataclasses.replace(full(), **{part: getattr(young(), part)})
    for told in (empty, young(**{part: getattr(full(), part)})):
        page = Page(run_page.render(told))
        links = {value[1:] for name, value in page.attributes if name == "href"}
        assert links <= {value for name, value in page.attributes if name == "id"}
        assert ("training" in links) == bool(told.phases or told.history)
        assert ("results" in links) == ("calibration" in links) == bool(told.evaluations)
        assert ("mistakes" in links) == bool(told.mistakes)


def test_a_phase_that_kept_no_views_and_froze_nothing_says_so():
    live = phase(name="all", from_stage="all", views=None, frozen_equal=None)
    text = Page(run_page.render(young(phases=(live,)))).text
    assert f"0.001 {formats.DASH} 41 s none" in text


def test_without_a_test_set_the_page_warns_and_without_evaluation_it_says_so():
    page = Page(run_page.render(young(evaluations={"val": evaluation()})))
    assert "accuracy on 60 val images" in page.text and "expect less" in page.text
    history = (epoch(0, val_accuracy=0.912), epoch(1, val_accuracy=0.9))
    page = Page(run_page.render(young(history=history)))
    assert "91.2 %" in page.text and "Not evaluated yet." in page.text


def test_all_clear_is_said_only_when_nothing_was_found():
    words = "found nothing to warn about"
    assert words in run_page.render(young())
    for bad in (insects(warnings=("few",)), insects(quarantine=(("x.jpg", "empty"),))):
        assert words not in run_page.render(young(data=bad))


def test_absent_classes_are_named():
    result = evaluate(np.eye(3)[[0, 1]], [0, 1], ["ant", "bee", "cat"], bootstrap=0)
    page = Page(run_page.render(young(evaluations={"test": result})))
    assert "No test images of cat" in page.text


def test_long_lists_are_cut_and_counted():
    bad = tuple((f"{i}.jpg", "empty") for i in range(200))
    data = insects(quarantine=bad, warnings=("w",) * 60)
    text = Page(run_page.render(young(data=data))).text
    assert "and 150 more, all in quarantine.csv" in text and "and 10 more" in text


def test_write_is_the_rendered_page(tmp_path):
    path, told = tmp_path / "runs" / "report.html", young(title="Käfer")
    run_page.write(path, told)
    assert path.read_text(encoding="utf-8") == run_page.render(told)
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
