"""The verb `report`: one page for whatever was found."""

import functools
import os
from pathlib import Path

from tlkit.advice import page as advice_page
from tlkit.advice.result import Advice
from tlkit.errors import TlkitError
from tlkit.labels import page as label_page
from tlkit.labels.result import LabelCheck
from tlkit.training.run import Run
from tlkit.workflows.run_report import write_report


@functools.singledispatch
def report(result, out: str | os.PathLike[str] | None = None) -> Path:
    """Writes a self-contained page about a result and returns its path.

    Args:
        result: A `Run` or its folder; what `advise` or `check_labels` returned.
        out: Folder for the page and what belongs to it; that of the run by default.

    Raises:
        TlkitError: There is no page about such a value, or a folder to write to is missing.
    """
    raise TlkitError(f"There is no report about {type(result).__name__}: give a run or advice.")


@report.register
def _(result: Run, out=None) -> Path:
    return write_report(result, out)


@report.register(str)
@report.register(os.PathLike)
def _(result, out=None) -> Path:
    return write_report(Run.open(result), out)


@report.register
def _(result: Advice, out=None) -> Path:
    return advice_page.write(result, _folder(out, "advice"))


@report.register
def _(result: LabelCheck, out=None) -> Path:
    return label_page.write(result, _folder(out, "labels"))


def _folder(out, name: str) -> Path:
    if out is None:
        raise TlkitError(f"Say where to write the page: report(..., out={name!r}).")
    return Path(out)
