"""The gate finds what is planted, and nothing else."""

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from tlkit import files
from tlkit.errors import TlkitError
from tlkit.images.checks import check
from tlkit.images.pictures import small
from tlkit.images.sources import read_source
from tlkit.images.table import from_arrays
from tlkit.images.verdicts import judge


def picture(seed, size=(120, 90), detail=24):
    """Returns a coloured picture of blurred noise, much like a photo to the eye of the gate."""
    draw = np.random.default_rng(seed)
    coarse = [Image.fromarray(draw.integers(0, 255, (n, n, 3), np.uint8)) for n in (5, detail)]
    layers = [image.resize(size, Image.Resampling.BICUBIC) for image in coarse]
    return Image.blend(*layers, 0.4)


def encoded(image, kind="JPEG", **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def write(folder, contents):
    for path, data in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def plain(count=12, classes=("a", "b")):
    return {
        f"{name}/{i}.jpg": encoded(picture(100 * k + i))
        for k, name in enumerate(classes)
        for i in range(count)
    }


def fingerprint(folder):
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(f"{path} {path.stat().st_mtime_ns}".encode())
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


def exif(tag):
    block = Image.Exif()
    block[0x0112] = tag
    return block


JPEG = encoded(picture(1))
BAD = {
    "empty file": b"",
    "truncated": JPEG[: len(JPEG) // 2],
    "not an image: looks like HTML": b"\n <!DOCTYPE html><html><body>404</body></html>",
    "not an image: looks like text": b"hello, world\n" * 40,
    "not an image: looks like a PDF": b"%PDF-1.4 and so on",
    "not an image: looks like a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\n",
    "not an image: unknown content": bytes(range(256)),
    "not an image: looks like HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1",
    "too small: 1x1": encoded(Image.new("RGB", (1, 1)), "PNG"),
}


@pytest.mark.parametrize("reason", BAD)
def test_bad_bytes(reason):
    assert judge(BAD[reason]).reason.startswith(reason)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
@pytest.mark.parametrize("lost", [1, 2, 40, 1500])
def test_every_truncated_jpeg_is_found(options, lost):
    data = encoded(picture(3, (640, 480)), quality=90, **options)
    assert judge(data).ok
    assert judge(data[:-lost]).reason == "truncated"


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "BMP", "GIF"])
def test_other_truncated_files_are_found(kind):
    data = encoded(picture(4), kind)
    assert judge(data).ok and not judge(data[: len(data) // 2]).ok


GRAY = picture(5).convert("L")
ODD = {
    "gray": (encoded(GRAY), dict(mode="L", gray=True)),
    "gray as colour": (encoded(GRAY.convert("RGB"), "PNG"), dict(mode="RGB", gray=True)),
    "rgba": (encoded(picture(5).convert("RGBA"), "PNG"), dict(alpha=True, gray=False)),
    "palette": (encoded(picture(5).convert("P"), "PNG"), dict(mode="P", alpha=False)),
    "cmyk": (encoded(picture(5).convert("CMYK")), dict(mode="CMYK", format="JPEG")),
    "16-bit": (
        encoded(Image.fromarray(np.asarray(GRAY).astype(np.uint16) * 257), "PNG"),
        dict(bits16=True, gray=True),
    ),
    "1-bit": (encoded(GRAY.convert("1"), "PNG"), dict(mode="1")),
    "webp": (encoded(picture(5), "WEBP"), dict(format="WEBP")),
    "tiff": (encoded(picture(5), "TIFF"), dict(format="TIFF")),
    "animated": (
        encoded(picture(5), "GIF", save_all=True, append_images=[picture(6), picture(7)]),
        dict(format="GIF", frames=3),
    ),
    "turned": (encoded(picture(5), exif=exif(6)), dict(orientation=6, width=90, height=120)),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_odd_but_good_files(name):
    data, facts = ODD[name]
    verdict = judge(data)
    assert verdict.ok, verdict.reason
    expected = {"width": 120, "height": 90} | facts
    assert {key: getattr(verdict, key) for key in expected} == expected


def test_16_bit_is_scaled_not_clipped():
    assert abs(judge(ODD["16-bit"][0]).thumb.mean() - judge(ODD["gray"][0]).thumb.mean()) < 3


@pytest.mark.parametrize("tag", range(1, 9))
def test_thumbnails_are_upright_as_pillow_has_it(tag):
    from PIL import ImageOps

    data = encoded(picture(8), "PNG", exif=exif(tag))
    expected = small(ImageOps.exif_transpose(Image.open(io.BytesIO(data))), 16)
    got = small(Image.open(io.BytesIO(data)), 16)
    assert np.abs(got.astype(int) - expected).max() <= 1


def test_transparent_pixels_count_as_white():
    image = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    assert (judge(encoded(image, "PNG")).thumb == 255).all()


def test_bad_files_are_named_listed_and_left_alone(tmp_path):
    bad = {f"a/bad{i}.jpg": data for i, data in enumerate(BAD.values())}
    folder = write(tmp_path / "photos", plain() | bad)
    before = fingerprint(folder)
    checked = check(read_source(folder), max_bad=0.5)
    assert [name for name, _ in checked.quarantine] == sorted(bad)
    assert len(checked.table) == len(checked.hashes) == len(checked.verdicts) == 24
    assert "a/bad1.jpg (truncated)" in checked.summary()
    checked.write_quarantine(tmp_path / "quarantine.csv")
    checked.write_quarantine(tmp_path / "quarantine.csv")
    lines = (tmp_path / "quarantine.csv").read_text().splitlines()
    assert lines[0] == "file,reason" and lines[2] == "a/bad1.jpg,truncated"
    assert fingerprint(folder) == before
    with pytest.raises(TlkitError, match=r"9 of 33 images cannot be used.*a/bad0.jpg.*max_bad"):
        check(read_source(folder))
    (tmp_path / "mine.csv").write_text("my notes\n")
    with pytest.raises(TlkitError, match="left as it is"):
        checked.write_quarantine(tmp_path / "mine.csv")


def test_a_class_of_bad_files_only_is_an_error(tmp_path):
    folder = write(tmp_path, plain() | {"c/1.jpg": b"", "c/2.jpg": b"x"})
    with pytest.raises(TlkitError, match="'c' is lost"):
        check(read_source(folder), max_bad=0.5)


def test_a_link_to_nothing_is_a_bad_file(tmp_path):
    write(tmp_path, plain(20))
    (tmp_path / "a" / "gone.jpg").symlink_to(tmp_path / "nowhere")
    assert check(read_source(tmp_path)).quarantine[0][0] == "a/gone.jpg"


def copies(original):
    """Returns the ways in which a picture is usually copied."""
    width, height = original.size
    turned = original.transpose(Image.Transpose.ROTATE_90)
    return {
        "encoded again": encoded(original, quality=92),
        "re-encoded": encoded(original, quality=60),
        "resized": encoded(original.resize((width * 4 // 5, height * 4 // 5))),
        "png": encoded(original, "PNG"),
        "webp": encoded(original, "WEBP"),
        "brighter": encoded(original.point(lambda v: min(255, v + 12))),
        "turned by a tag": encoded(turned, quality=92, exif=exif(6)),
    }


@pytest.mark.parametrize("size", [(120, 90), (400, 300), (32, 32)])
def test_copies_of_every_kind_are_found_and_nothing_else(tmp_path, size):
    contents = plain(7)
    for i, how in enumerate(copies(picture(0))):
        contents[f"a/{i}.jpg"] = encoded(picture(i, size), quality=92)
        made = copies(Image.open(io.BytesIO(contents[f"a/{i}.jpg"])))
        contents[f"a/copy{i}.png"] = made[how]
    checked = check(read_source(write(tmp_path, contents)))
    of = dict(zip(checked.table.items, checked.clusters.tolist(), strict=True))
    for i, how in enumerate(copies(picture(0))):
        assert of[f"a/{i}.jpg"] == of[f"a/copy{i}.png"], how
    assert len(set(of.values())) == len(of) - 7


def test_flat_images_are_copies_only_when_equal(tmp_path):
    flat = {
        f"b/flat{i}.png": encoded(Image.new("L", (50, 50), 100 + i // 2), "PNG") for i in range(4)
    }
    checked = check(read_source(write(tmp_path, plain() | flat)))
    of = dict(zip(checked.table.items, checked.clusters.tolist(), strict=True))
    first, same, other, again = (of[f"b/flat{i}.png"] for i in range(4))
    assert first == same != other == again and len(set(of.values())) == len(of) - 2


def test_digits_are_no_copies_of_each_other():
    from sklearn.datasets import load_digits

    digits = load_digits()
    drawn, names = digits.images[:500] * 255 / 16, digits.target[:500]
    assert len(np.unique(check(from_arrays(drawn, names)).clusters)) == 500
    big = [Image.fromarray(one.astype(np.uint8)).resize((32, 32)) for one in drawn]
    checked = check(from_arrays([np.asarray(image) for image in big], names))
    assert len(np.unique(checked.clusters)) >= 495  # at most one in a hundred looks like another


def test_copies_with_another_label_are_reported(tmp_path):
    contents = plain() | {"b/same.jpg": encoded(picture(0), quality=70)}
    (line,) = [w for w in check(read_source(write(tmp_path, contents))).warnings if "copies" in w]
    assert "a/0.jpg (a) = b/same.jpg (b)" in line


def test_training_copies_of_test_images_are_left_out(tmp_path):
    train = {f"train/{path}": data for path, data in plain().items()}
    test = {"test/a/x.jpg": encoded(picture(0), quality=65), "test/b/y.jpg": encoded(picture(999))}
    checked = check(read_source(write(tmp_path, train | test)))
    assert checked.dropped == [("train/a/0.jpg", "copy of test test/a/x.jpg")]
    assert "train/a/0.jpg" not in checked.table.items and "test/a/x.jpg" in checked.table.items
    assert any("repeat the test split" in line for line in checked.warnings)


def test_copies_in_train_and_val_and_shared_groups_are_reported(tmp_path):
    write(tmp_path, plain(4) | {"b/same.jpg": encoded(picture(100), quality=70)})
    lines = ["path,label,split,group", "b/same.jpg,b,val,p"]
    lines += [f"{c}/{i}.jpg,{c},train,{'p' if i else ''}" for c in "ab" for i in range(4)]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    found = check(read_source(tmp_path / "list.csv")).warnings
    assert any("b/0.jpg (train) = b/same.jpg (val)" in line for line in found)
    assert any("1 groups are in two" in line for line in found)


def test_small_unbalanced_gray_and_skipped_are_reported(tmp_path):
    contents = plain(40) | {
        f"c/{i}.png": encoded(picture(i + 900).convert("L"), "PNG") for i in (1, 2)
    }
    contents |= {"c/x.heic": b"x", "a/y.gif": ODD["animated"][0]}
    lines = "\n".join(check(read_source(write(tmp_path, contents))).warnings)
    for part in (
        "c (2)",
        "41 images of a, 2 images of c",
        "images of c are gray",
        "1 .heic",
        "a/y.gif",
    ):
        assert part in lines


def test_a_clean_set_has_no_warnings(tmp_path):
    assert check(read_source(write(tmp_path, plain()))).warnings == []


@pytest.mark.parametrize("scale, said", [(1 / 255, "expected to be 0..255"), (1.0, "")])
def test_scaled_arrays_are_noticed(scale, said):
    x = np.stack([np.asarray(picture(i, (16, 16)), float) * scale for i in range(24)])
    lines = " ".join(check(from_arrays(x, np.arange(24) % 2)).warnings)
    assert (said in lines) if said else not lines


def test_arrays_with_nan_are_bad():
    x = np.stack([np.asarray(picture(i, (16, 16)), float) for i in range(24)])
    x[3, 2, 2] = np.nan
    assert check(from_arrays(x, np.arange(24) % 2)).quarantine == [
        ("row 3", "holds NaN or infinity")
    ]


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-200], lambda b: b"", lambda b: b[:500] + b"!" + b[901:]]
)
def test_a_damaged_cache_is_ignored(tmp_path, damage):
    folder = write(tmp_path, plain())
    first = check(read_source(folder))
    (kept,) = (files.home() / "verdicts").iterdir()
    kept.write_bytes(damage(kept.read_bytes()))
    assert check(read_source(folder)).hashes == first.hashes
    assert [v.width for v in check(read_source(folder)).verdicts] == [120] * 24


def test_a_class_trained_on_test_images_only_is_an_error(tmp_path):
    train = {f"train/{path}": data for path, data in plain(4).items()}
    test = {f"test/b/{i}.jpg": encoded(picture(100 + i), quality=80) for i in range(4)}
    with pytest.raises(TlkitError, match="'b' is lost: each of its images is also in the test"):
        check(read_source(write(tmp_path, train | test)))
