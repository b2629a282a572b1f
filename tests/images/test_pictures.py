"""Contact sheets: every picture stands where it belongs, under the text that belongs to it."""

import io

import numpy as np
from PIL import Image

from tlkit import files
from tlkit.augmentation import apply, policies, preview
from tlkit.images import pictures
from tlkit.images.table import from_arrays
from tlkit.pages import sheets

DRAW = np.random.default_rng(0)


def colours(rows, columns):
    """Returns one colour per cell, none of them white."""
    return DRAW.integers(0, 200, (rows, columns, 3)).astype(np.uint8)


def test_cells_stand_in_rows_and_columns_below_the_caption():
    shown = colours(2, 3)
    cells = np.broadcast_to(shown[:, :, None, None], (2, 3, 7, 11, 3))
    for lines in ((), ("a caption", "of two lines")):
        paper = np.asarray(preview.picture(cells, lines))
        top, gap = 16 * len(lines), preview.GAP
        assert paper.shape == (top + gap + 2 * (7 + gap), gap + 3 * (11 + gap), 3)
        for row in range(2):
            for column in range(3):
                down, right = top + gap + row * (7 + gap), gap + column * (11 + gap)
                cell = paper[down : down + 7, right : right + 11]
                assert (cell == shown[row, column]).all()
        assert (paper[top : top + gap] == 255).all() and (paper[:top] < 128).any() == bool(lines)


def test_cells_of_one_channel_are_gray_and_alpha_is_left_out():
    for channels, expected in ((1, [50, 50, 50]), (4, [50, 60, 70])):
        cells = np.broadcast_to(np.uint8([50, 60, 70, 80])[:channels], (1, 1, 9, 9, channels))
        assert np.asarray(preview.picture(cells))[10, 10].tolist() == expected


def test_a_preview_follows_strength_views_size_and_seed(photos):
    paths = preview.choose(photos, 2)
    gap, caption = preview.GAP, 16

    def shown(strength=1.0, **options):
        paper = np.asarray(preview.preview(paths, "photos", strength, size=24, **options))
        lines = (paper.shape[0] - gap - 2 * (24 + gap)) // caption
        cells = paper[lines * caption + gap :][:24]
        return [cells[:, gap + i * (24 + gap) :][:, :24] for i in range(paper.shape[1] // 30)]

    original, *views = shown(0, views=3)
    assert len(views) == 3 and all((view == original).all() for view in views)
    first, other = shown(views=2), shown(views=2, seed=1)
    assert (first[0] == original).all() and (other[0] == original).all()
    assert len(first) == 3 and (first[1] != first[2]).any() and (first[1] != other[1]).any()
    with_bytes = [files.content_hash(paths[0].read_bytes())]
    expected = apply.look(original[None], with_bytes, policies.policy("photos"), 1, 0)
    assert np.abs(other[1] - expected[0]).max() <= 0.51  # what training would draw for this file
    weak = np.abs(shown(0.05, views=1)[1].astype(int) - original).mean()
    assert weak < np.abs(first[1].astype(int) - original).mean()


def test_photos_are_chosen_evenly_from_all_folders(tmp_path):
    for i in range(10):
        place = tmp_path / f"{i // 5}" / f"{i}.JPG"
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(b"")
    for name in (".hidden.jpg", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    for count, expected in ((5, "02468"), (3, "036"), (99, "0123456789")):
        assert "".join(path.stem for path in preview.choose(tmp_path, count)) == expected
    single = tmp_path / "1" / "7.JPG"
    assert preview.choose(single, 3) == [single]


def test_a_tile_is_the_whole_picture_on_white():
    wide = np.broadcast_to(np.uint8([10, 20, 30]), (20, 40, 3))
    for held in (wide, wide.astype(float), encoded(wide)):
        tile = pictures.picture(held, 40)
        assert (tile[10:30] == [10, 20, 30]).all() and (tile[:10] == 255).all()
        assert (tile[30:] == 255).all()
    tall = pictures.picture(np.swapaxes(wide, 0, 1), 40)
    assert (tall[:, 10:30] == [10, 20, 30]).all() and (tall[:, :10] == 255).all()
    glass = np.full((8, 8, 4), (0, 0, 0, 51), np.uint8)
    assert (pictures.picture(glass, 8) == 204).all()


def encoded(pixels):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def test_rows_of_a_table_are_those_asked_for():
    table = from_arrays(np.stack([np.full((8, 8, 3), i * 20) for i in range(6)]), np.arange(6) % 2)
    tiles = pictures.rows_of(table, [4, 1], 8)
    assert [int(tile.mean()) for tile in tiles] == [80, 20] and tiles[0].shape == (8, 8, 3)


def test_a_sheet_of_tiles_has_each_line_with_its_texts(tmp_path):
    shown, side = colours(2, 3), sheets.SIDE
    tile = np.ones((side, side, 1), np.uint8)
    lines = [[(tile * shown[0, i], "") for i in range(3)], [(tile * shown[1, 0], "one\ntwo")]]
    sheets.write(tmp_path / "deep" / "sheet.png", lines)
    paper = np.asarray(Image.open(tmp_path / "deep" / "sheet.png").convert("RGB")).astype(int)
    wide, tall = side + 8, side + 8 + 30
    assert paper.shape == (8 + 2 * tall, 8 + 3 * wide, 3)
    for row, column in ((0, 0), (0, 1), (0, 2), (1, 0)):
        cell = paper[8 + row * tall :, 8 + column * wide :][:side, :side]
        assert (cell == shown[row, column]).all()
    under = [paper[8 + row * tall + side :, 8:][:30, :side].min() for row in (0, 1)]
    assert under[0] == 255 and under[1] < 100
    assert (paper[8 + tall :, 8 + wide :] == 255).all()  # the second line is shorter
