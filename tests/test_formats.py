"""Numbers, tables and pages as people read them."""

import base64
import io

import jinja2
import numpy as np
import pytest
from PIL import Image

from tlkit import text as formats
from tlkit.pages import html


def test_percent_and_dashes():
    assert (formats.percent(0.9125), formats.percent(0.9125, 0)) == ("91.2 %", "91 %")
    assert formats.percent(None) == formats.DASH == formats.duration(None)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min 00 s"),
     (3599.6, "1 h 00 min"), (3725, "1 h 02 min"), (36_000, "10 h 00 min")],
)  # fmt: skip
def test_durations(seconds, text):
    assert formats.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e-3, "0.001"), ([1e-3, 1e-4, 5e-4], "0.0001 to 0.001 by depth"), ([0.01, 0.01], "0.01"),
     ((), "none"), (None, formats.DASH)],
)  # fmt: skip
def test_rates(value, text):
    assert formats.rates(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, ""), (0.12345, "0.123"), (7, "7"), ("flip", "flip")]
)
def test_short(value, text):
    assert formats.short(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "yes"), (np.int64(12_345), "12,345"), (0.123456, "0.1235"), ([], "none"),
     ({"a": 1, "b": [True, None]}, f"a: 1, b: yes, {formats.DASH}")],
)  # fmt: skip
def test_compact(value, text):
    assert formats.compact(value) == text


def test_tables_put_numbers_to_the_right():
    rows = [
        {"name": "a", "count": 12_345, "share": 0.123456, "shape": (3, 4), "good": True},
        {"name": "longer", "count": 7, "share": None, "shape": (10, 2), "good": False},
    ]
    assert formats.text_table(rows).splitlines() == [
        "name     count   share  shape  good",
        "a       12,345  0.1235  3x4    True",
        "longer       7          10x2   False",
    ]
    assert formats.text_table([]) == ""
    assert formats.text_table([{"n": 9999}, {"n": 10_000}]).split() == ["n", "9999", "10,000"]


def test_a_picture_inside_an_address():
    image = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    address = html.data_uri(image, "png")
    assert address.startswith("data:image/png;base64,")
    held = Image.open(io.BytesIO(base64.b64decode(address.split(",")[1])))
    np.testing.assert_array_equal(np.asarray(held), np.asarray(image))
    assert html.data_uri(image).startswith("data:image/jpeg;base64,")


def test_a_page_lacks_nothing_and_runs_nothing():
    with pytest.raises(jinja2.UndefinedError):
        html.render("labels.html", {"title": "x"})
    given = {"title": "<script>1</script>", "summary": "a & b", "tiles": [], "total": 0,
             "pairs": [], "curve": "", "map_note": "", "notes": ["<b>"], "figures": {}}  # fmt: skip
    page = html.render("labels.html", given)
    assert "<script" not in page and "a &amp; b" in page and "&lt;b&gt;" in page
    assert "No label is in doubt." in page
