"""Draws docs/schedules.png, one panel for each row of `tlkit.phases.schedules.SCHEDULES`.

python docs/schedule_pictures.py
"""

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from tlkit.pages.figures import BLUE, STYLE
from tlkit.phases.phase import Phase, rate_at
from tlkit.phases.schedules import SCHEDULES

EPOCHS, STEPS = 30, 600
# Validation losses that fall and then stand still, for the schedule that looks at them.
LOSSES = [1 / (1 + epoch) if epoch < 8 else 0.2 for epoch in range(EPOCHS)]


def curve(name: str) -> list[float]:
    """Returns the rate of every step of a phase of 30 epochs."""
    phase = Phase("p", epochs=EPOCHS, rate=1.0, schedule=name)
    each = STEPS // EPOCHS
    return [rate_at(phase, step, STEPS, LOSSES[: step // each]) for step in range(STEPS)]


@matplotlib.rc_context(STYLE)
def main() -> None:
    """Draws and writes the picture."""
    columns = 4
    rows = -(-len(SCHEDULES) // columns)
    figure = Figure(figsize=(2.5 * columns, 1.7 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True).ravel()
    epochs = [step * EPOCHS / STEPS for step in range(STEPS)]
    for panel in panels[len(SCHEDULES) :]:
        panel.set_visible(False)
    for panel, name in zip(panels, SCHEDULES, strict=False):
        panel.plot(epochs, curve(name), color=BLUE, linewidth=1.4)
        panel.set(title=name, ylim=(0, 1.05))
    figure.supxlabel("epoch")
    figure.supylabel("share of the rate")
    figure.savefig(Path(__file__).with_name("schedules.png"), dpi=90, facecolor="white")


if __name__ == "__main__":
    main()
