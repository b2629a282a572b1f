"""The rules of the gate at their very thresholds, and that verdicts stay with their rows."""

import csv
import dataclasses
import io
import zlib

import numpy as np
import pytest
from PIL import Image

from tlkit import files
from tlkit.errors import TlkitError
from tlkit.images import checks
from tlkit.images.checks import check
from tlkit.images.pictures import look, looks_like
from tlkit.images.sources import read_source
from tlkit.images.table import from_arrays
from tlkit.images.verdicts import Verdict, VerdictCache, judge, judge_array

DRAW = np.random.default_rng(0)


def noise(width=8, height=8, gray=False):
    pixels = DRAW.integers(0, 256, (height, width, 3), np.uint8)
    return np.repeat(pixels[..., :1], 3, -1) if gray else pixels


def png(pixels, **options):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", **options)
    return out.getvalue()


def write(folder, contents):
    for path, data in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def held(counts, bad=(), gray=()):
    """Returns a table of noise in memory: `counts` images a class, some rows bad, some gray."""
    labels = np.repeat(np.arange(len(counts)), counts)
    images = [b"" if i in bad else png(noise(gray=i in gray)) for i in range(len(labels))]
    return from_arrays(images, labels, [f"class{i}" for i in range(len(counts))])


# A share of 5 % of 40 images is two; a third is one too many, whatever the rounding.
def test_as_many_bad_images_as_allowed_are_left_out_and_one_more_is_refused():
    for share, count in ((0.05, 2), (0.1, 4), (0.0, 0)):
        allowed = check(held([20, 20], bad=range(count)), max_bad=share)
        assert len(allowed.quarantine) == count and len(allowed.table) == 40 - count
        with pytest.raises(TlkitError, match=f"{count + 1} of 40 images"):
            check(held([20, 20], bad=range(count + 1)), max_bad=share)
    with pytest.raises(TlkitError, match=r"3 of 40.*more than max_bad=0\.05 allows"):
        check(held([20, 20], bad=range(3)))


def test_ten_images_of_a_class_are_enough_and_nine_are_few():
    assert check(held([10, 10])).warnings == []
    assert check(held([10, 9])).warnings == [
        "Fewer than 10 images to train and validate on: class1 (9)."
    ]


def test_images_that_are_given_as_test_images_do_not_train():
    table = held([14, 14])
    split = np.array(["train"] * 14 + ["train"] * 9 + ["test"] * 5)
    (line,) = check(dataclasses.replace(table, split=split)).warnings
    assert line.endswith("class1 (9).")


def test_ten_times_as_many_images_are_balanced_and_more_are_not():
    assert check(held([100, 10])).warnings == []
    assert check(held([10, 101])).warnings == [
        "Unbalanced: 101 images of class1, 10 images of class0. Look at the balanced accuracy."
    ]


def test_gray_is_a_danger_only_where_it_tells_classes_apart():
    def said(first, second):
        return check(held([20, 20], gray=[*range(first), *range(20, 20 + second)])).warnings

    assert said(16, 3) == said(17, 4) == said(20, 20) == []  # four fifths, one fifth
    (line,) = said(17, 3)
    assert line.startswith("Most images of class0 are gray, few of class1")
    assert said(3, 17)[0].startswith("Most images of class1 are gray, few of class0")


@pytest.mark.parametrize(("low", "high", "said"), [
    (0, 1, "0 to 1;"), (0, 255, ""), (0, 2, ""), (-1, 255, "-1 to 255;"), (0, 256, "0 to 256;"),
])  # fmt: skip
def test_arrays_must_hold_0_to_255(low, high, said):
    x = DRAW.uniform(low, high, (24, 8, 8, 3))
    x[0, 0, 0, :2] = low, high
    lines = check(from_arrays(x, np.arange(24) % 2)).warnings
    assert [said in line for line in lines] == ([True] if said else [])


def test_sides_of_four_pixels_are_enough():
    assert judge(png(noise(4, 4))).ok and judge_array(noise(4, 4)).ok
    for shape in ((3, 9), (9, 3)):
        assert judge(png(noise(*shape))).reason == f"too small: {shape[0]}x{shape[1]}"
        assert judge_array(noise(*shape)).reason == f"too small: {shape[0]}x{shape[1]}"


def test_arrays_have_a_verdict_too():
    verdict = judge_array(noise(9, 5))
    assert (verdict.width, verdict.height, verdict.format, verdict.mode) == (9, 5, "array", "uint8")
    assert not verdict.alpha and not verdict.gray
    assert judge_array(np.zeros((6, 6, 4))).alpha and judge_array(noise(gray=True)).gray
    assert judge_array(np.full((6, 6, 1), np.inf)).reason == "holds NaN or infinity"
    assert (judge_array(np.full((6, 6, 3), 300.0)).thumb == 255).all()


def test_all_verdicts_belong_to_their_rows_before_and_after_copies_are_left_out():
    sizes = [(8 + i, 40 - i) for i in range(25)]  # more than one thread's share
    images = [png(noise(*size)) for size in sizes]
    images[3], images[20] = b"", images[5]
    split = np.array(["train"] * 18 + ["test"] * 7)
    table = from_arrays(images, np.arange(25) % 2)
    found = check(dataclasses.replace(table, split=split), max_bad=0.2, workers=3)
    assert found.dropped == [("row 5", "copy of test row 20")]
    assert found.quarantine == [("row 3", "empty file")]
    left = [i for i in range(25) if i not in (3, 5)]
    assert found.table.items == tuple(left) and found.table.split.tolist() == split[left].tolist()
    assert found.hashes == tuple(files.content_hash(images[i]) for i in left)
    sizes[20] = sizes[5]
    assert [(v.width, v.height) for v in found.verdicts] == [sizes[i] for i in left]
    assert len(found.clusters) == len(left) == len(set(found.clusters.tolist()))


def test_arrays_of_equal_bytes_but_other_form_are_other_content():
    zeros = [np.zeros(shape, kind) for shape, kind in [
        ((6, 6), "u1"), ((4, 9), "u1"), ((9, 4), "u1"), ((4, 9), "i1"), ((6, 6), "u1"),
    ]]  # fmt: skip
    hashes = check(from_arrays(zeros, [0, 1, 0, 1, 0])).hashes
    assert len(set(hashes)) == 4 and hashes[0] == hashes[4]


def test_what_is_kept_of_a_verdict_is_all_of_it():
    odd = Verdict(
        "", 70_000, 3, "JPEG", "CMYK", 6, 300, True, True, True,
        DRAW.integers(0, 256, (16, 16, 3), np.uint8),
    )  # fmt: skip
    bad = Verdict("not an image: looks like a Git LFS pointer, whose content was never fetched")
    VerdictCache().add({"a" * 32: odd, "b" * 32: bad})
    VerdictCache().add({"c" * 32: bad, "a" * 32: bad})  # what is known stays
    for name, verdict in (("a" * 32, odd), ("b" * 32, bad), ("c" * 32, bad)):
        found = dataclasses.asdict(VerdictCache().get(name))
        expected = dataclasses.asdict(verdict)
        assert (found.pop("thumb") == expected.pop("thumb")).all() and found == expected
    assert VerdictCache().get("d" * 32) is None


def planted(folder, width):
    """Keeps a verdict on the folder's first file that tells of another width."""
    data = sorted(folder.rglob("*.png"))[0].read_bytes()
    told = dataclasses.replace(judge(data), width=width)
    VerdictCache().add({files.content_hash(data): told})


def test_a_kept_verdict_is_used_unless_the_content_is_new_or_memory_is_not_wanted(tmp_path):
    folder = write(tmp_path, {f"{c}/{i}.png": png(noise()) for c in "ab" for i in range(10)})
    planted(folder, 777)
    table = read_source(folder)
    assert [v.width for v in check(table).verdicts] == [777] + [8] * 19
    assert [v.width for v in check(table, cache=False).verdicts] == [8] * 20
    (folder / "a" / "0.png").rename(folder / "b" / "moved.png")
    assert [v.width for v in check(read_source(folder)).verdicts] == [8] * 19 + [777]
    (folder / "a" / "0.png").write_bytes(png(noise(9, 9)))
    assert [v.width for v in check(table).verdicts] == [9] + [8] * 19


def test_huge_pictures_are_named_and_those_beyond_all_measure_are_bad(tmp_path):
    folder = write(tmp_path, {f"{c}/{i}.png": png(noise()) for c in "ab" for i in range(10)})
    planted(folder, 20_000_000)
    (line,) = check(read_source(folder)).warnings
    assert line.startswith("1 images have more than 89,478,485 pixels: a/0.png")
    size = (60_000).to_bytes(4)
    header = b"IHDR" + size + size + b"\1\0\0\0\0"
    start = b"\x89PNG\r\n\x1a\n\0\0\0\r" + header + zlib.crc32(header).to_bytes(4)
    assert judge(start + b"\0\0\0\x32IDAT" + bytes(50)).reason.startswith("too large")


def test_a_photo_with_a_second_one_for_the_phone_is_a_jpeg():
    out = io.BytesIO()
    first, second = (Image.fromarray(noise(40, 30)) for _ in range(2))
    first.save(out, "MPO", save_all=True, append_images=[second])
    verdict = judge(out.getvalue())
    assert (verdict.format, verdict.frames, verdict.width) == ("JPEG", 1, 40)


def test_a_large_jpeg_looks_alike_at_a_reduced_scale():
    draw = DRAW.integers(0, 256, (9, 13, 3), np.uint8)
    large = Image.fromarray(draw).resize((1003, 679), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    large.save(out, "JPEG", quality=95)
    expected = np.asarray(large.resize((16, 16), Image.Resampling.BILINEAR)).astype(int)
    for found in (judge(out.getvalue()).thumb, look(out.getvalue(), 16)):
        assert np.abs(found - expected).max() <= 6


def test_without_memory_nothing_is_written(tmp_path, private_home):
    folder = write(tmp_path, {f"{c}/{i}.png": png(noise()) for c in "ab" for i in range(3)})
    check(read_source(folder), cache=False)
    check(held([3, 3]))  # what is in memory has no verdicts on disk
    assert list(private_home.rglob("*")) == []
    check(read_source(folder))
    assert list(private_home.rglob("*.npz"))


def test_a_check_that_breaks_off_keeps_the_verdicts_it_has(tmp_path, private_home):
    folder = write(tmp_path, {f"{c}/{i}.png": png(noise()) for c in "ab" for i in range(40)})
    table = read_source(folder)

    class Breaking(type(table)):
        def read(self, i):
            if i == 60:
                raise KeyboardInterrupt
            return super().read(i)

    with pytest.raises(KeyboardInterrupt):
        check(Breaking(**{f.name: getattr(table, f.name) for f in dataclasses.fields(table)}))
    assert VerdictCache().get(files.content_hash(table.read(0))).width == 8


def test_the_quarantine_list_is_a_csv_with_every_name_and_reason(tmp_path):
    checked = dataclasses.replace(check(held([2, 2])), quarantine=[("a,b.jpg", 'said "no"')])
    checked.write_quarantine(tmp_path / "bad.csv")
    with open(tmp_path / "bad.csv", newline="") as opened:
        assert list(csv.reader(opened)) == [["file", "reason"], ["a,b.jpg", 'said "no"']]


def test_the_facts_are_those_of_a_table_by_hand():
    images = [png(noise(8, 8)), png(noise(10, 10)), png(noise(10, 30)), png(noise(50, 50)), b""]
    out = io.BytesIO()
    Image.fromarray(noise(20, 20, gray=True)).convert("L").save(out, "GIF")
    images += [out.getvalue(), images[0], images[0]]
    labels = [0, 0, 1, 1, 1, 1, 0, 0]
    split = np.array(["train", "", "train", "val", "train", "train", "train", "train"])
    table = dataclasses.replace(from_arrays(images, labels, ("z", "a")), split=split)
    assert checks.facts(check(table, max_bad=0.2)) == [
        "arrays: 7 images, 2 classes",
        "  classes   z 4, a 3",
        "  size      8x8 to 50x50, median 10x10",
        "  kinds     PNG 6, GIF 1",
        "  of these  1 gray",
        "  copies    2 of 1 pictures",
        "  left out  1 bad, 0 copies of test images",
        "  given     train 5, val 1, undecided 1",
    ]


SIGNS = {
    b"%PDF-1": "looks like a PDF", b"PK\3\4..": "looks like a ZIP archive",
    b"<svg >": "looks like SVG", b"<?xml version": "looks like XML",
    b"\xef\xbb\xbf <HTML>": "looks like HTML", b"\xff\xd8\xff\0": "a JPEG that breaks off",
    b"....ftypavif": "looks like AVIF", b"\x89PNG\r\n": "a PNG that breaks off",
    "Größe".encode(): "looks like text", b"\1\2\3": "unknown content",
}  # fmt: skip


@pytest.mark.parametrize("data", SIGNS)
def test_bytes_that_are_no_image_are_named(data):
    assert SIGNS[data] in looks_like(data)


def test_a_look_at_bytes_and_at_pixels_is_the_same_picture():
    pixels = noise(40, 20)
    expected = np.asarray(Image.fromarray(pixels).resize((12, 12), Image.Resampling.BILINEAR))
    for source in (pixels, pixels.astype(float), png(pixels)):
        np.testing.assert_array_equal(look(source, 12), expected)
