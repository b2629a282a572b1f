"""Runs everything: `python -m benchmarks [--full]`; results go to benchmarks/results/."""

import argparse
import dataclasses
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import floors, harness, images, random_weights, results
from benchmarks.contestants import CONTESTANTS, Contestant, variant
from benchmarks.works import FULL, QUICK, Work, series
from tlkit import files
from tlkit.errors import TlkitError, unknown

EXTRAS = ("floors", "scaling")
_SCALED = ("tlkit-1",)  # contestants of the scaling series


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the command line, runs, writes the results and prints the table."""
    try:
        options = _parser().parse_args(arguments)
        return _run(options)
    except (TlkitError, argparse.ArgumentTypeError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--full", action="store_true", help="the long run; the short one takes ten minutes")
    add("--only", metavar="W1,W3,...", help="works to run; also floors and scaling")
    add("--peers", metavar="NAME,...", help="contestants to run, or all; the base always runs")
    add("--rounds", type=int, default=3, help="how often everything is run (3)")
    add("--data", type=Path, metavar="DIR", help="your photos in place of generated ones")
    add("--weights", action="append", default=[], metavar="[BACKBONE=]FILE",
        help="trained weights for tlkit and the Keras peers (mobilenet_v2)")  # fmt: skip
    add("--variant", action="append", default=[], type=_variant, metavar="NAME[:VIEWS]:KEY=VALUE",
        help="one more tlkit row, with environment variables set")  # fmt: skip
    add(
        "--torch-python",
        type=os.path.abspath,
        metavar="PATH",
        help="interpreter that has torch (and timm, fastai)",
    )
    add("--out", type=Path, default=Path(__file__).parent / "results", metavar="DIR")
    add("--cache", type=_path, default=_path(files.home() / "benchmarks"), metavar="DIR")
    return parser


def _path(text: str | Path) -> Path:
    """Returns an absolute path: contestants run in a folder of their own."""
    return Path(text).resolve()


def _variant(text: str) -> Contestant:
    try:
        return variant(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _run(options) -> int:
    works, extras = chosen_works(options.full, options.only)
    rows, absent = chosen_contestants(options)
    values: dict[str, Any] = {"machine": harness.machine(), "absent": absent, "full": options.full}
    trained = _trained(options.weights)
    named = [f"{name} {Path(file).name}" for name, file in trained.items()]
    values["weights"] = ", ".join([*named, "others random" if named else "random"])
    values["data"] = options.data.name if options.data else "generated"
    setting = harness.Setting(
        lambda work: images.prepare(options.cache, work, options.data),
        lambda work, folder: (
            trained.get(work.backbone) or random_weights.weights_file(options.cache, work, folder)
        ),
        options.rounds,
    )
    records = harness.run(works, rows, setting)
    values |= {"records": records, "summary": results.summarise(records, works, rows)}
    values["verdicts"] = results.verdicts(values["summary"], records)
    text = [results.table(values["summary"], works)]
    if "scaling" in extras:
        values["scaling"], grown = _scaling(options.full, rows, setting)
        text.append(grown)
    if "floors" in extras:
        values["floors"] = _floors(options, setting)
        text.append(floors.table(values["floors"]))
    _write(options.out, values, "\n".join(text), works)
    return 0 if all(record["ok"] for record in records) else 1


def _trained(given: Sequence[str]) -> dict[str, str]:
    """Returns the weights files by backbone.

    Raises:
        TlkitError: There is no such file.
    """
    pairs = [text.split("=", 1) if "=" in text else ("mobilenet_v2", text) for text in given]
    for _, path in pairs:
        if not Path(path).is_file():
            raise TlkitError(f"There is no weights file {path}.")
    return {name: str(Path(path).resolve()) for name, path in pairs}


def chosen_works(full: bool, only: str | None) -> tuple[tuple[Work, ...], set[str]]:
    """Returns the works to run and the extras; by default all works and the floors.

    Raises:
        TlkitError: A name in `only` is neither a work nor an extra.
    """
    table = {work.name: work for work in (FULL if full else QUICK)}
    if only is None:
        return tuple(table.values()), set(EXTRAS if full else EXTRAS[:1])
    names = [name.strip() for name in only.split(",")]
    for name in names:
        if name not in table and name not in EXTRAS:
            raise unknown("work", name, [*table, *EXTRAS])
    works = tuple(work for name, work in table.items() if name in names)
    return works, set(EXTRAS) & set(names)


def chosen_contestants(options) -> tuple[list[Contestant], dict[str, str]]:
    """Returns the contestants to run and, by name, why others are left out."""
    rows = {row.name: row for row in (*CONTESTANTS, *options.variant)}
    if options.torch_python:
        rows |= {
            name: dataclasses.replace(row, python=options.torch_python)
            for name, row in rows.items()
            if "torch" in row.needs
        }
    always = {CONTESTANTS[0].name, *(row.name for row in options.variant)}
    if options.peers and options.peers != "all":
        names = [name.strip() for name in options.peers.split(",")]
        for name in names:
            if name not in rows:
                raise unknown("contestant", name, [*rows, "all"])
        rows = {name: row for name, row in rows.items() if name in always | {*names}}
    elif not options.full and not options.peers:
        rows = {name: dataclasses.replace(row, works=row.quick) for name, row in rows.items()}
    absent = {name: row.absent() for name, row in rows.items() if row.absent()}
    return [row for name, row in rows.items() if name not in absent and row.works], absent


def _scaling(full, rows, setting) -> tuple[list[dict[str, Any]], str]:
    """Runs the series with one round each: a trend needs many sizes more than many repeats."""
    grown = series(full)
    works = list({work.name: work for several in grown.values() for work in several}.values())
    names = tuple(work.name for work in works)
    mine = [dataclasses.replace(row, works=names) for row in rows if row.name in _SCALED]
    records = harness.run(works, mine, dataclasses.replace(setting, rounds=1))
    return records, results.growth(results.summarise(records, works, mine), grown)


def _floors(options, setting) -> list[dict[str, Any]]:
    """Measures the floors in a process of their own."""
    work = FULL[1] if options.full else dataclasses.replace(FULL[1], images=120)
    folder = setting.folder_of(work)
    weights = setting.weights(work, folder)
    env = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    with tempfile.TemporaryDirectory() as scratch:
        out = f"{scratch}/floors.json"
        command = [sys.executable, "-m", "benchmarks.floors", str(folder), out, weights]
        env["TLKIT_HOME"] = scratch
        subprocess.run(command, check=True, cwd=harness.ROOT, env=env)
        return files.read_json(out)


def _write(out: Path, values: dict[str, Any], text: str, works) -> None:
    text = "\n".join([_head(values), text, *(f"- {line}" for line in values["verdicts"])]) + "\n"
    files.write_json(out / "results.json", values)
    files.write_text(out / "table.md", text)
    with files.replacing(out / "plot.png") as temporary:
        results.plot(values["summary"], works, temporary)
        temporary.touch()
    print(text)
    print(f"Written to {out}: table.md, results.json, plot.png")


def _head(values) -> str:
    machine = values["machine"]
    lines = [
        "## Results\n",
        f"{'Long' if values['full'] else 'Short'} run. {machine['processor']}, "
        f"{machine['cores']} cores, {machine['memory_gib']} GiB, load {machine['load_at_start']} "
        f"at the start. Images: {values['data']}. Weights: {values['weights']}. "
        "See README.md for how to read this.\n",
        *(f"- left out: {name} ({why})" for name, why in values["absent"].items()),
    ]
    failed = [record for record in values["records"] if not record["ok"]]
    lines += [f"- FAILED: {r['work']}, {r['contestant']}, round {r['round']}: {r['why']}"
              for r in failed]  # fmt: skip
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
