"""What every figure shares: colours, style, the canvas, and how it becomes SVG."""

import io
import re
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Told apart by the colour-blind (after Okabe and Ito 2008), and readable on white and on black.
BLUE, ORANGE, GREEN, RED, GRAY = "#2f7ebc", "#e08214", "#1b9e77", "#cc4c4c", "#8a8f98"

# Sentinels that `to_svg` turns into the variables of the page.
INK, PAPER = "#20242a", "#fefefd"

_VARIABLES = {INK: "--ink", PAPER: "--card"}

STYLE: Any = {
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.edgecolor": GRAY,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "grid.color": GRAY,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.7,
    "font.size": 9,
    "text.color": INK,
    "xtick.color": GRAY,
    "ytick.color": GRAY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",
}

SERIES = (BLUE, ORANGE, GREEN, GRAY)


def to_svg(figure: Figure, title: str) -> str:
    """Returns an `<svg>` element for an HTML page, with `title` as its text for screen readers.

    Text and paper take their colours from the page (`--ink`, `--card`), so the figure follows a
    dark scheme; identifiers are made unique by the title; no address is left inside.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": title}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    prefix = re.sub(r"\W+", "-", title) + "-"
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable}, {colour})")
    label = re.sub(r"[<>&\"]", "", title)
    return svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1).strip()


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def legend(owner: Figure | Axes, **options: Any) -> None:
    axes = owner.axes if isinstance(owner, Figure) else [owner]
    if any(each.get_legend_handles_labels()[0] for each in axes):  # else matplotlib warns
        owner.legend(**options)
