"""Learning-rate schedules: a factor on a phase's rate, as a pure function of where training stands.

A schedule is one row of `SCHEDULES`. It knows nothing of what happened before but the validation
losses of the phase's finished epochs, so an interrupted phase goes on at the very same rate.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tlkit.errors import TlkitError, unknown


@dataclasses.dataclass(frozen=True)
class Place:
    """Where in a phase a step is.

    Attributes:
        step, steps: The step and all steps, both without the warm-up.
        epoch: Epochs since the warm-up, as a fraction.
        losses: Validation losses of the finished epochs.
    """

    step: int
    steps: int
    epoch: float
    losses: tuple[float, ...] = ()

    @property
    def share(self) -> float:
        """Part of the steps that is done, 0 to 1."""
        return self.step / max(self.steps, 1)


@dataclasses.dataclass(frozen=True)
class Schedule:
    """One row: what gives the factor, its options with their defaults, and what it is.

    Options lie within `LIMITS`. A schedule that `rises` by itself takes no warm-up.
    """

    factor: Callable[..., float]
    about: str
    options: Mapping[str, float] = dataclasses.field(default_factory=dict)
    rises: bool = False


def constant(place):
    return 1.0


def inverse(place):
    return 1.0 / (1 + int(place.epoch))


def inverse_time(place, decay):
    return 1.0 / (1.0 + decay * int(place.epoch))


def inverse_step(place, decay):
    return 1.0 / (1.0 + decay * place.step)


def compounding(place, decay):
    return (1.0 + decay) ** -int(place.epoch)


def step(place, every, factor):
    return factor ** int(place.epoch // every)


def exponential(place, factor):
    return factor**place.epoch


def linear(place):
    return 1.0 - place.share


def cosine(place):
    return 0.5 * (1 + math.cos(math.pi * place.share))


def restarts(place, cycle, times):
    """Loshchilov and Hutter, ICLR 2017, equation 5; every cycle is `times` as long as the last."""
    done, length = place.epoch, cycle
    while done >= length:
        done, length = done - length, length * times
    return 0.5 * (1 + math.cos(math.pi * done / length))


def snapshot(place, cycles):
    """Huang et al., ICLR 2017, equation 2."""
    length = math.ceil(place.steps / cycles)
    return 0.5 * (1 + math.cos(math.pi * (place.step % length) / length))


def one_cycle(place, rise, start, end):
    """Smith 2018 (arXiv:1803.09820), both legs along half a cosine."""
    if place.share < rise:
        return _between(start, 1.0, place.share / rise)
    return _between(1.0, end, (place.share - rise) / (1.0 - rise))


def _between(first, last, share):
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * share))


def plateau(place, factor, patience, least):
    """After `patience` epochs without a better loss the rate falls, down to `least`."""
    value, best, waiting = 1.0, math.inf, 0
    for loss in place.losses:
        waiting = 0 if loss < best else waiting + 1
        best = min(best, loss)
        if waiting >= patience:
            value, waiting = max(value * factor, least), 0
    return value


def bit(place, first, second, third):
    """Kolesnikov et al., ECCV 2020: a tenth from each of three shares on."""
    return 0.1 ** sum(place.share >= share for share in (first, second, third))


# fmt: off
SCHEDULES: dict[str, Schedule] = {
    "constant":     Schedule(constant, "the rate itself"),
    "inverse":      Schedule(inverse, "rate / t in epoch t = 1, 2, ... (Robbins, Monro 1951)"),
    "inverse_time": Schedule(inverse_time, "rate / (1 + decay x epochs done)", {"decay": 0.1}),
    "inverse_step": Schedule(inverse_step, "rate / (1 + decay x steps done): `decay` of Keras 2",
                             {"decay": 1e-3}),
    "compounding":  Schedule(compounding, "divided by 1 + decay after every epoch",
                             {"decay": 0.1}),
    "step":         Schedule(step, "times factor after every so many epochs",
                             {"every": 10, "factor": 0.1}),
    "exponential":  Schedule(exponential, "times factor for each epoch, in every step",
                             {"factor": 0.9}),
    "linear":       Schedule(linear, "a straight line to 0"),
    "cosine":       Schedule(cosine, "half a cosine to 0"),
    "restarts":     Schedule(restarts, "cosines one after the other, each `times` as many epochs: "
                             "SGDR (Loshchilov, Hutter 2017)", {"cycle": 5, "times": 2}),
    "snapshot":     Schedule(snapshot, "equal cosines, one for each snapshot (Huang et al. 2017)",
                             {"cycles": 3}),
    "one_cycle":    Schedule(one_cycle, "up, then down to almost nothing (Smith 2018)",
                             {"rise": 0.3, "start": 0.04, "end": 1e-5}, rises=True),
    "plateau":      Schedule(plateau, "times factor when the validation loss stands still",
                             {"factor": 0.2, "patience": 2, "least": 1e-3}),
    "bit":          Schedule(bit, "a tenth at three milestones (BiT, Kolesnikov et al. 2020)",
                             {"first": 0.25, "second": 0.5, "third": 0.75}),
}
# Least and most of every option: no factor leaves 0 to 1, and no cycle is too short to end.
LIMITS: dict[str, tuple[float, float]] = {
    "decay": (0, 1e6), "every": (0.01, 1e6), "factor": (1e-6, 1), "cycle": (0.1, 1e6),
    "times": (1, 1e3), "cycles": (1, 1e6), "rise": (1e-3, 0.999), "start": (0, 1), "end": (0, 1),
    "patience": (1, 1e6), "least": (0, 1), "first": (0, 1), "second": (0, 1), "third": (0, 1),
}
# fmt: on
_WHOLE = ("cycles", "patience")


def check(name: str, options: Mapping[str, Any]) -> None:
    """Raises TlkitError for an unknown schedule, or an option it has not or cannot have."""
    if name not in SCHEDULES:
        raise unknown("schedule", name, SCHEDULES)
    if not isinstance(options, Mapping):
        raise TlkitError(f'Schedule {name}: options are a dict such as {{"every": 5}}: {options!r}')
    for key, value in options.items():
        if key not in SCHEDULES[name].options:
            raise unknown(f"option of the schedule {name}", key, SCHEDULES[name].options)
        _check_value(name, key, value)


def _check_value(name, key, value):
    (least, most), whole = LIMITS[key], key in _WHOLE
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not least <= value <= most or (whole and value != int(value)):
        kind = "a whole number" if whole else "a number"
        raise TlkitError(
            f"Schedule {name}: {key} cannot be {value!r}. Give {kind} from {least:g} to {most:g}."
        )


def factor(name: str, options: Mapping[str, float], place: Place) -> float:
    """Returns what a phase's rate is multiplied by, at `place`."""
    row = SCHEDULES[name]
    return row.factor(place, **{**row.options, **options})


# Training images below which a rule holds, and its steps: end of warm-up, milestones, end.
_RULES = (
    (20_000, (100, 200, 300, 400, 500)),
    (500_000, (500, 3000, 6000, 9000, 10_000)),
    (math.inf, (500, 6000, 12_000, 18_000, 20_000)),
)


def hyperrule(images: int, shape: Sequence[int] = (224, 224), batch_size: int = 128) -> dict:
    """Returns the BiT HyperRule: all that is to be set, from the size of the data alone.

    Kolesnikov et al., "Big Transfer", ECCV 2020, section 3.3; the rate falls with the batch. The
    warm-up and milestones come at the paper's steps; the last epoch is finished, and early
    stopping is off. MixUp is the policy `mixup`, whose alpha is 0.2 where the paper has 0.1.

    Args:
        images: Training images.
        shape: Height and width of a usual image, in pixels.
        batch_size: Images per step; the rule was made for 512.

    Returns:
        `size` and `crop` in pixels, `steps`, and `phase`: fields of a `Phase` that follows it.

    Raises:
        TlkitError: There are no images, or none in a batch.
    """
    if min(images, batch_size) < 1:
        raise TlkitError(f"BiT's rule needs images: {images} images in batches of {batch_size}.")
    steps = next(rule for limit, rule in _RULES if images < limit)
    warm, *milestones, end = steps
    each = math.ceil(images / batch_size)
    epochs = math.ceil(end / each)
    total = epochs * each
    names = ("first", "second", "third")
    shares = [(milestone - warm) / (total - warm) for milestone in milestones]
    phase = {
        "unfreeze": "all",
        "epochs": epochs,
        "patience": epochs,
        "batch_size": batch_size,
        "optimizer": "momentum",
        "rate": 0.003 * batch_size / 512,
        "decay": 1.0,
        "weight_decay": 0.0,
        "smoothing": 0.0,
        "warmup": warm / total,
        "schedule": "bit",
        "schedule_options": dict(zip(names, shares, strict=True)),
        "augment": "flip" if images < 20_000 else "mixup",
    }
    size, crop = (160, 128) if shape[0] * shape[1] < 96 * 96 else (512, 480)
    return {"size": size, "crop": crop, "steps": end, "phase": phase}
