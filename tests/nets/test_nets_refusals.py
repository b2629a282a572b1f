"""What nets refuse, and how they say so; a family is a file."""

import importlib
import textwrap

import pytest

from tlkit import nets
from tlkit.errors import TlkitError


def test_unknown_names_are_met_with_near_ones():
    with pytest.raises(TlkitError, match="'vgg-d'"):
        nets.build("vgg-dd")


def test_no_classes_is_not_the_default_number():
    with pytest.raises(TlkitError, match="without top"):
        nets.build("linear", classes=0)


@pytest.mark.parametrize("choice", ["norm", "activation", "init"])
def test_unknown_choices_are_named(choice):
    with pytest.raises(TlkitError, match=r"Unknown .* 'batsch'"):
        nets.build("illing", **{choice: "batsch"})


@pytest.mark.parametrize(("name", "shape"), [
    ("vgg-a", (16, 16, 3)), ("lenet-5", (20, 20, 1)), ("alexnet", (40, 40, 3)),
    ("deepface", (50, 50, 3)),
])  # fmt: skip
def test_too_small_an_input_names_the_layer_that_refuses(name, shape):
    with pytest.raises(
        TlkitError, match=rf"'{name}' cannot take input .*its layer '.*larger input_shape"
    ):
        nets.build(name, input_shape=shape, init="zeros")


def test_dense_layers_need_a_known_size_and_convolutions_do_not():
    with pytest.raises(TlkitError, match="fixed height and width"):
        nets.build("vgg-a", input_shape=(None, None, 3), init="zeros")
    assert nets.features("vgg-a", input_shape=(None, None, 3), init="zeros").output_shape[1] is None
    assert nets.build("all-cnn-c", input_shape=(None, None, 3)).output_shape == (None, 10)


def test_instance_normalization_of_one_value_is_refused():
    with pytest.raises(TlkitError, match="one value"):
        nets.build("lenet-5", norm="instance")


@pytest.mark.parametrize("choice", [{"activation": "maxout"}, {"norm": "weight"}])
def test_the_wiring_table_of_lenet_5_refuses_what_it_cannot_do(choice):
    with pytest.raises(TlkitError, match="Choose another"):
        nets.build("lenet-5", **choice)


# --- a family is a file ---

FAMILY = """
from tlkit.nets._rows import Conv, GlobalAvgPool, MaxPool, logits
from tlkit.nets._spec import Net

def features(variant):
    yield "conv1", Conv(4, 3)
    yield "pool1", MaxPool(2)

def top(variant, classes):
    yield "pool", GlobalAvgPool()
    yield "logits", logits(classes)

NETS = {"novel": Net(variant="", year=2026, source="this test", oracle="by hand: 112 + 4 x 5 + 5",
                     params=137, macs=None, input_shape=(8, 8, 3), classes=5,
                     stages=(("one", "pool1"),))}
"""


def test_a_new_file_is_a_new_family_and_its_removal_the_end_of_it(tmp_path, monkeypatch):
    file = tmp_path / "novel_family.py"
    file.write_text(textwrap.dedent(FAMILY))
    before = nets.names()
    monkeypatch.setattr(nets, "__path__", [*nets.__path__, str(tmp_path)])
    importlib.invalidate_caches()
    assert nets.names() == sorted([*before, "novel"])
    assert nets.build("novel").count_params() == nets.info("novel").params
    assert {row["name"]: row["params"] for row in nets.table()}["novel"] == 137
    file.unlink()
    importlib.invalidate_caches()
    assert nets.names() == before
