"""From records of single processes to medians, ratios, a table, a plot and verdicts on targets."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.contestants import BASE, FAIR, Contestant
from benchmarks.works import Work

PEERS = (BASE, FAIR, "torch")  # whose ratios are kept
Z = 1.96  # both sides of a 95 % interval
Record = dict[str, Any]


def summarise(
    records: Sequence[Record], works: Sequence[Work], contestants: Sequence[Contestant]
) -> list[dict[str, Any]]:
    """Returns one row for each (work, contestant) with at least one good record.

    A ratio is the median over rounds of the peer's value divided by this one's in the same round:
    above 1 means quicker than the peer. It is None where no round has both.
    """
    good = [record for record in records if record["ok"]]
    rows = []
    for work in works:
        for contestant in contestants:
            mine = _of(good, work.name, contestant.name)
            if mine:
                rows.append(_row(work, contestant, mine, good))
    return rows


def _row(work, contestant, mine, good) -> dict[str, Any]:
    right, judged = (sum(record[key] for record in mine) for key in ("right", "judged"))
    each = judged // len(mine)
    low, high = wilson(right / judged, each) if judged else (math.nan, math.nan)
    row: dict[str, Any] = {
        "work": work.name,
        "contestant": contestant.name,
        "views": views(contestant, work, mine),
        "rounds": len(mine),
        "accuracy": right / judged if judged else math.nan,
        "accuracy_low": low,
        "accuracy_high": high,
        "judged": each,
    }
    imported = [r["marks"]["imported"]["wall"] for r in mine if "imported" in r["marks"]]
    row["startup"] = median(imported) if imported else None
    for key in ("wall", "cpu", "peak_mb"):
        values = [record[key] for record in mine]
        row[key] = median(values)
        row[f"{key}_range"] = [min(values), max(values)]
    for peer in PEERS:
        theirs = _of(good, work.name, peer)
        for key in ("wall", "cpu"):
            row[f"{key}_ratio_{peer}"] = ratio(theirs, mine, key)
    return row


def views(contestant: Contestant, work: Work, mine: Sequence[Record]) -> str:
    """Returns K, the number of distinct augmented views of each image, as text.

    tlkit's rows say how many they have used; a peer's fresh views are as many as its epochs.
    """
    counted = {record["notes"]["views"] for record in mine if "views" in record["notes"]}
    if counted:
        return ", ".join(map(str, sorted(counted)))
    if contestant.views == "1, then fresh":
        return f"1, then {work.tail_epochs}" if work.tail_epochs else "1"
    return str(work.epochs)


def ratio(theirs: Sequence[Record], mine: Sequence[Record], key: str) -> float | None:
    """Returns the median of theirs / mine over the rounds that both have."""
    other = {record["round"]: record[key] for record in theirs}
    pairs = [other[record["round"]] / record[key] for record in mine if record["round"] in other]
    return median(pairs) if pairs else None


def wilson(share: float, n: int) -> tuple[float, float]:
    """Returns the 95 % score interval of a share of `n` images (Wilson, 1927).

    `n` is that of one round: rounds judge the same images, so more rounds are no larger sample.
    """
    middle = share + Z**2 / (2 * n)
    spread = Z * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    scale = 1 + Z**2 / n
    return (middle - spread) / scale, (middle + spread) / scale


def _of(records: Iterable[Record], work: str, contestant: str) -> list[Record]:
    return [r for r in records if (r["work"], r["contestant"]) == (work, contestant)]


# --- targets ---------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Target:
    """Some tlkit row of these works should be so many times as quick as a peer, in wall time."""

    text: str
    least: float
    works: tuple[str, ...]
    peer: str = BASE
    contestant: str = "tlkit"  # the beginning of a name: with several rows, the best counts
    choose: Callable = max


TARGETS = (
    Target("W1, one view, default engine", 5.0, ("W1",), contestant="tlkit-1"),
    Target("W1, best of tlkit", 7.0, ("W1",)),
    Target("W1, best of tlkit", 7.0, ("W1",), "torch"),
    Target("W1, a fresh view in every epoch", 2.5, ("W1",), contestant="tlkit-fresh"),
    Target("W2, one view, default engine", 4.0, ("W2",), contestant="tlkit-1"),
    Target("W2, best of tlkit", 6.0, ("W2",)),
    Target("W2, best of tlkit", 6.0, ("W2",), "torch"),
    Target("W2, a fresh view in every epoch", 2.0, ("W2",), contestant="tlkit-fresh"),
    Target("W3, best of tlkit", 15.0, ("W3",)),
    Target("slowest tlkit row of all works", 1.0, ("W0", "W1", "W2", "W3", "W4"), choose=min),
)


def verdicts(rows: Sequence[dict[str, Any]], records: Sequence[Record]) -> list[str]:
    """Returns one line for each target that this run can judge."""
    lines = []
    for target in TARGETS:
        key = f"wall_ratio_{target.peer}"
        mine = [row for row in rows if row["work"] in target.works and row[key] is not None]
        ratios = [(r[key], r) for r in mine if r["contestant"].startswith(target.contestant)]
        if ratios:
            value, row = target.choose(ratios, key=lambda pair: pair[0])
            word = "reached" if value >= target.least else "MISSED"
            who = f"{row['contestant']}, K = {row['views']}"
            lines.append(
                f"{word}: {target.text}: {value:.2f}x {target.peer} ({who}; target "
                f"{target.least:g}x)"
            )
    return lines + _trial_verdicts(records)


def _trial_verdicts(records: Sequence[Record]) -> list[str]:
    lines = []
    for name in sorted({record["contestant"] for record in records}):
        value = trials_cost(_of([r for r in records if r["ok"]], "W4", name))
        if value is not None:
            word = "" if not name.startswith("tlkit") else "reached: " if value < 2 else "MISSED: "
            lines.append(f"{word}W4, {name}: all trials cost {value:.2f}x the first (target < 2x)")
    return lines


def trials_cost(records: Sequence[Record]) -> float | None:
    """Returns wall time of all trials of a search / time until the first one was done."""
    costs = [r["wall"] / r["marks"]["trial 1"]["wall"] for r in records if "trial 1" in r["marks"]]
    return median(costs) if costs else None


# --- table and plot --------------------------------------------------------------------------

_HEADER = (
    "| contestant | K | wall s (range) | start-up | CPU s | peak MB | accuracy (95 %) "
    f"| wall x {BASE} | CPU x {BASE} | wall x {FAIR} | rounds |\n" + "|---" * 11 + "|"
)


def table(rows: Sequence[dict[str, Any]], works: Sequence[Work]) -> str:
    """Returns one Markdown table for each work."""
    parts = []
    for work in works:
        mine = [row for row in rows if row["work"] == work.name]
        if mine:
            lines = "\n".join(map(_line, mine))
            parts.append(f"### {work.name}: {work.describe()}\n\n{_HEADER}\n{lines}\n")
    return "\n".join(parts)


def _line(row: dict[str, Any]) -> str:
    low, high = row["wall_range"]
    accuracy = f"{row['accuracy']:.3f} ({row['accuracy_low']:.3f} to {row['accuracy_high']:.3f})"
    cells = [
        row["contestant"],
        row["views"],
        f"{row['wall']:.1f} ({low:.1f} to {high:.1f})",
        "-" if row["startup"] is None else f"{row['startup']:.1f}",
        f"{row['cpu']:.1f}",
        f"{row['peak_mb']:.0f}",
        accuracy,
        *(_times(row[f"{key}_ratio_{BASE}"]) for key in ("wall", "cpu")),
        _times(row[f"wall_ratio_{FAIR}"]),
        str(row["rounds"]),
    ]
    return "| " + " | ".join(cells) + " |"


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def growth(rows: Sequence[dict[str, Any]], series: dict[str, tuple[Work, ...]]) -> str:
    """Returns tables of what grows how: time against the first size of each series."""
    parts = []
    for title, works in series.items():
        lines = []
        for name in dict.fromkeys(row["contestant"] for row in rows):
            found = {row["work"]: row for row in rows if row["contestant"] == name}
            mine = [found[work.name] for work in works if work.name in found]
            lines += [_growth_line(row, mine[0]) for row in mine]
        if lines:
            header = "| contestant | size | wall s | x first | CPU s | x first | peak MB |"
            parts.append(f"### Growth with {title}\n\n{header}\n{'|---' * 7}|\n" + "\n".join(lines))
    return "\n\n".join(parts)


def _growth_line(row, first) -> str:
    return (
        f"| {row['contestant']} | {row['work']} | {row['wall']:.1f} "
        f"| {row['wall'] / first['wall']:.2f} | {row['cpu']:.1f} "
        f"| {row['cpu'] / first['cpu']:.2f} | {row['peak_mb']:.0f} |"
    )


def plot(rows: Sequence[dict[str, Any]], works: Sequence[Work], path: Path) -> None:
    """Draws wall seconds of every contestant, one panel for each work, the range as a line."""
    from matplotlib.figure import Figure

    shown = [work for work in works if any(row["work"] == work.name for row in rows)]
    if not shown:
        return
    heights = [sum(row["work"] == work.name for row in rows) + 1 for work in shown]
    figure = Figure((8, 0.32 * sum(heights) + 0.8), layout="constrained")
    panels = figure.subplots(len(shown), 1, squeeze=False, height_ratios=heights)[:, 0]
    for panel, work in zip(panels, shown, strict=True):
        _bars(panel, [row for row in rows if row["work"] == work.name][::-1])
        panel.set_title(f"{work.name}: {work.title}", fontsize=9, loc="left")
    panels[-1].set_xlabel("wall seconds, start-up included: median, range of the rounds")
    figure.savefig(path, dpi=120)


def _bars(panel, rows) -> None:
    names = [f"{row['contestant']} (K = {row['views']})" for row in rows]
    walls = [row["wall"] for row in rows]
    spread = [[w - row["wall_range"][0] for w, row in zip(walls, rows, strict=True)],
              [row["wall_range"][1] - w for w, row in zip(walls, rows, strict=True)]]  # fmt: skip
    colors = ["tab:blue" if row["contestant"].startswith("tlkit") else "0.7" for row in rows]
    panel.barh(names, walls, color=colors, xerr=spread, ecolor="0.3")
    for i, row in enumerate(rows):
        times = row[f"wall_ratio_{BASE}"]
        if times is not None:
            panel.annotate(f"  {times:.1f}x", (row["wall_range"][1], i), va="center", fontsize=8)
    panel.tick_params(labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)
    panel.margins(x=0.1)
