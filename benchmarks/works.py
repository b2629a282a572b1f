"""What is timed: one row for each work, in the sizes of the quick and of the long run."""

import dataclasses

# The settings of the guide, which all contestants get that do not choose their own.
HEAD_RATE, TAIL_RATE, DROPOUT = 1e-3, 1e-5, 0.2
# What the trials of a search differ in: learning rate and dropout.
TRIALS = tuple((rate, dropout) for rate in (3e-4, 1e-3, 3e-3, 1e-2) for dropout in (0.0, 0.3))


@dataclasses.dataclass(frozen=True)
class Work:
    """One training job that every contestant is given.

    Args:
        name: Short name on the command line.
        title: What the tables call it.
        images: Training images; a tenth as many are for validation, and `test` are held out.
        head_epochs: Epochs of the new head on the frozen backbone.
        tail_epochs: Epochs of everything above `boundary`, at a lower rate; 0 for none.
        trials: Whole jobs with other settings, as a search does; 1 for a plain job.
        size: Pixels along a side of what the network sees.
        boundary: Last Keras layer that stays frozen.
        stage: The same boundary in tlkit's words: the first stage that trains.
        photo: Width and height of the generated files.
    """

    name: str
    title: str
    images: int
    head_epochs: int
    tail_epochs: int
    trials: int = 1
    backbone: str = "mobilenet_v2"
    size: int = 160
    boundary: str = "block_12_add"
    stage: str = "stage5"
    test: int = 200
    photo: tuple[int, int] = (400, 300)
    batch_size: int = 32

    @property
    def epochs(self) -> int:
        """All epochs of one trial."""
        return self.head_epochs + self.tail_epochs

    @property
    def validation(self) -> int:
        """Images for validation."""
        return max(self.images // 10, 10)

    @property
    def settings(self) -> tuple[tuple[float, float], ...]:
        """Learning rate and dropout of the head, one pair for each trial."""
        return TRIALS[: self.trials] if self.trials > 1 else ((HEAD_RATE, DROPOUT),)

    def describe(self) -> str:
        """Returns the sizes in one line."""
        tail = f" + {self.tail_epochs} fine-tune" if self.tail_epochs else ""
        trials = f", {self.trials} trials" if self.trials > 1 else ""
        return (
            f"{self.title}: {self.images:,} images, "
            f"{self.backbone} at {self.size}, {self.head_epochs} head{tail} epochs{trials}"
        )


_RESNET = {"backbone": "resnet50", "boundary": "conv4_block6_out"}

# The long run: the sizes that ratios are quoted for.
FULL = (
    Work("W0", "few images", 64, 5, 5),
    Work("W1", "head, then fine-tuning", 1000, 5, 5),
    Work("W2", "the same with a large net", 1000, 2, 2, **_RESNET),
    Work("W3", "head only", 1000, 20, 0),
    Work("W4", "search of eight trials", 1000, 5, 0, trials=8),
)
# The short run fits into ten minutes on two cores, and start-up weighs heavily in it.
QUICK = (
    Work("W0", "few images", 64, 1, 1, test=100),
    Work("W1", "head, then fine-tuning", 80, 5, 5, test=100),
    Work("W2", "the same with a large net", 64, 2, 2, test=100, **_RESNET),
    Work("W3", "head only", 80, 20, 0, test=100),
    Work("W4", "search of eight trials", 48, 2, 0, trials=8, test=100),
)


def series(full: bool) -> dict[str, tuple[Work, ...]]:
    """Returns, for each thing that can grow, W1 at several sizes of it."""
    base = FULL[1] if full else dataclasses.replace(QUICK[1], images=100)
    few = dataclasses.replace(base, images=100 if full else 20, test=20)  # 12 MP are slow to draw
    counts = (500, 800, 1000, 2000, 4000, 8000) if full else (40, 100, 400)
    sides = (96, 128, 160, 224) if full else (96, 160)
    photos = ((400, 300), (1024, 768), (4000, 3000)) if full else ((400, 300), (4000, 3000))
    return {
        "images": _varied(base, "images", counts),
        "fine-tune epochs": _varied(base, "tail_epochs", (1, 5, 10, 20) if full else (1, 10)),
        "head epochs": _varied(base, "head_epochs", (1, 5, 10, 20) if full else (1, 20)),
        "image size": _varied(base, "size", sides),
        "photo size": _varied(few, "photo", photos),
    }


def _varied(base: Work, field: str, values) -> tuple[Work, ...]:
    return tuple(
        dataclasses.replace(base, **{field: value, "name": f"{field}={_text(value)}"})
        for value in values
    )


def _text(value) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
