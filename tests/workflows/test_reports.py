"""One verb writes the page of whatever was found, where it is asked for."""

import dataclasses
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import tlkit
from tlkit.advice import page as advice_page
from tlkit.advice.result import Advice
from tlkit.labels import page as label_page
from tlkit.labels.result import LabelCheck

KEPT = Path(__file__).parents[1] / "fixtures" / "run_0_2_0"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run whose arrays are given again, as from another process."""
    folder = shutil.copytree(KEPT, tmp_path_factory.mktemp("runs") / "kept")
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 150, (36, 16, 16, 3)).astype(np.uint8)
    labels = np.repeat(np.arange(3), 12)
    for i, channel in enumerate((0, 2, 1)):
        pixels[labels == i, :, :, channel] += 80
    opened = tlkit.Run.open(folder)
    opened.require_data((pixels, labels, ("red", "blue", "green")))
    return opened


def test_a_run_has_its_page_in_its_own_folder_or_where_it_is_asked_for(run, tmp_path):
    assert tlkit.report(run) == run.folder / "report.html"
    assert tlkit.report(run, tmp_path / "pages") == tmp_path / "pages" / "report.html"
    page = (tmp_path / "pages" / "report.html").read_text()
    assert page == (run.folder / "report.html").read_text() and "Backbone" in page


def test_a_folder_stands_for_its_run(monkeypatch, tmp_path):
    seen = []
    opened = SimpleNamespace(folder=tmp_path)
    monkeypatch.setattr("tlkit.training.run.Run.open", lambda folder: seen.append(folder) or opened)
    write = lambda run, out=None: (run, out)  # noqa: E731
    monkeypatch.setattr("tlkit.workflows.reports.write_report", write)
    assert tlkit.report("runs/a") == (opened, None)
    assert tlkit.report(Path("runs/b"), "pages") == (opened, "pages")
    assert seen == ["runs/a", Path("runs/b")]


@pytest.mark.parametrize(("kind", "page"), [(Advice, advice_page), (LabelCheck, label_page)])
def test_other_results_say_where_to(kind, page, monkeypatch, tmp_path):
    blank = object.__new__(kind)
    assert dataclasses.is_dataclass(blank)
    monkeypatch.setattr(page, "write", lambda result, folder: (result, folder))
    assert tlkit.report(blank, str(tmp_path)) == (blank, tmp_path)
    with pytest.raises(tlkit.TlkitError, match="where to write"):
        tlkit.report(blank)


def test_what_has_no_page_is_named():
    with pytest.raises(tlkit.TlkitError, match="no report about int"):
        tlkit.report(3)
