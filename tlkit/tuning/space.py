"""A search space is a table of rows, and settings drawn from it are a head and a list of phases.

A row names what it sets: a field of `Head`, a field of `Phase`, or one of the few names in `NAMES`
that stand for more. So a field that a phase gains tomorrow can be searched the same day.

A space file (TOML or JSON) has one table for each row. Its rows replace those of the default space
that have the same name; with `only = true` at the top there are no others.

    [rate]
    low = 1e-5
    high = 1e-3
    log = true

    [optimizer]
    values = ["adamw", "momentum"]

    [augment]
    pin = "flip"
"""

import dataclasses
import json
import math
import os
import tomllib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from tlkit.errors import TlkitError, unknown
from tlkit.models.heads import Head
from tlkit.phases.phase import Phase

Settings = dict[str, Any]
NONE = "none"  # `unfreeze` of a plan that stops after the head

# Rates in a space are those of Adam; these optimizers take larger or smaller steps for the same
# number, so that one range serves all. What a trial used in the end is in its phases.
RATE_SCALE = {"sgd": 30.0, "momentum": 10.0, "nesterov": 10.0, "damped": 100.0, "lion": 0.3}

# Names that are more than a field: what they set, in words for `tlkit search --help` and the docs.
NAMES = {
    "head": "kind of head",
    "dropout": "dropout of the head",
    "init": "how the head starts",
    "head_rate": "learning rate of the head phase, in Adam's measure",
    "rate": "learning rate of the last phase, in Adam's measure",
    "head_epochs": "most epochs of the head phase",
    "epochs": "most epochs of the last phase",
    "unfreeze": "first stage that trains in the last phase, `all`, or `none`",
    "decay": "factor on the rate for each stage further down",
    "batch_norm": "whether the last phase trains BatchNorm",
}
_HEAD_FIELDS = {"head": "kind", "dropout": "dropout", "init": "init"}
_LAST = ("rate", "epochs", "unfreeze", "decay", "batch_norm")  # of the last phase only


@dataclasses.dataclass(frozen=True)
class Row:
    """One thing that is searched.

    Args:
        name: A key of `NAMES` or a field of `Phase`, which is then set in every phase.
        values: What a choice can be; empty for a range.
        low: Least value of a range.
        high: Greatest value of a range.
        log: Whether a range is even in its logarithm, as for rates.
        default: What the default settings have.
        when: Another row's name and the values of it for which this row matters at all.
    """

    name: str
    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    default: Any = None
    when: tuple[str, tuple[Any, ...]] | None = None

    def __post_init__(self):
        if self.name not in names():
            raise unknown("row of a search space", self.name, names())
        if not self.values and not self.low < self.high:
            raise TlkitError(f"Row {self.name!r} needs `values`, or `low` below `high`: {self}")
        if self.log and self.low <= 0:
            raise TlkitError(f"Row {self.name!r}: a logarithmic range must start above 0.")
        if self.default is None:
            object.__setattr__(self, "default", self._middle())
        if not self.holds(self.default):
            raise TlkitError(f"Row {self.name!r}: the default {self.default!r} is not in its range")

    @property
    def whole(self) -> bool:
        """Whether a range holds whole numbers only: both ends and the default are written so."""
        ends = (self.low, self.high)
        return not self.values and not self.log and all(isinstance(end, int) for end in ends)

    @property
    def pinned(self) -> bool:
        """Whether there is nothing to search."""
        return len(self.values) == 1

    def holds(self, value: Any) -> bool:
        """Says whether `value` can be drawn from this row."""
        return value in self.values if self.values else self.low <= value <= self.high

    def active(self, settings: Mapping[str, Any]) -> bool:
        """Says whether the row matters under these settings."""
        return self.when is None or settings.get(self.when[0]) in self.when[1]

    def _middle(self) -> Any:
        if self.values:
            return self.values[0]
        return math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2


@dataclasses.dataclass(frozen=True)
class Space:
    """Rows to search, and the plan that the settings change."""

    rows: tuple[Row, ...]

    def __post_init__(self):
        seen = [row.name for row in self.rows]
        if twice := {name for name in seen if seen.count(name) > 1}:
            raise TlkitError(f"The space has more than one row called {', '.join(sorted(twice))}.")
        for row in self.rows:
            if row.when and row.when[0] not in seen[: seen.index(row.name)]:
                raise TlkitError(f"Row {row.name!r} depends on {row.when[0]!r}, which must precede")

    @property
    def default(self) -> Settings:
        """The default settings: one value for each row that matters."""
        return self.only_active({row.name: row.default for row in self.rows})

    @property
    def searched(self) -> tuple[Row, ...]:
        """The rows with more than one value."""
        return tuple(row for row in self.rows if not row.pinned)

    def only_active(self, settings: Mapping[str, Any]) -> Settings:
        """Returns the settings without rows that do not matter, in the order of the space."""
        kept: Settings = {}
        for row in self.rows:
            if row.name in settings and row.active(kept):
                kept[row.name] = settings[row.name]
        return kept

    def describe(self) -> list[dict[str, Any]]:
        """Returns the rows as plain values: for JSON, for pages and for the study's key."""
        return [dataclasses.asdict(row) for row in self.rows]


def names() -> list[str]:
    """Returns everything a row can set."""
    fields = [field.name for field in dataclasses.fields(Phase) if field.name != "name"]
    return [*NAMES, *(name for name in fields if name not in NAMES)]


def default_space(plan: Sequence[Phase], stages: Sequence[str] = (), head: Head = Head()) -> Space:  # noqa: B008 frozen
    """Returns the small space that is searched where nothing else is asked for.

    Its default settings are `plan` and `head` themselves, so the first trial of every search is
    what the user would have had without one.

    Args:
        plan: The phases of `default_phases`.
        stages: The backbone's stages in order of depth.
    """
    first, last, tail = plan[0], plan[-1], len(plan) > 1
    depths = _choice("unfreeze", (NONE, *stages[-2:]), last.unfreeze)
    policies = _choice("augment", ("none", "flip", "photos"), last.augment)
    rows = [
        depths if tail else None,
        _choice("optimizer", ("adamw", "nesterov"), last.optimizer),
        _around("head_rate", _adams(first), 4) if tail else None,
        _only(depths if tail else None, {NONE},
              _around("rate", _adams(last), 8)),
        Row("weight_decay", low=1e-5, high=0.1, log=True, default=_inside(last.weight_decay)),
        _choice("schedule", ("cosine", "constant"), last.schedule),
        _choice("head", ("linear", "mlp", "concat_pool"), head.kind),
        Row("dropout", low=0.0, high=0.6, default=min(head.dropout, 0.6)),
        _choice("smoothing", (0.0, 0.1), last.smoothing),
        policies,
        _only(policies, _STRAIGHT, _choice("strength", (0.5, 1.0), last.strength)),
    ]  # fmt: skip
    return Space(tuple(row for row in rows if row is not None))


def _adams(phase: Phase) -> float:
    """Returns the phase's rate in Adam's measure."""
    return phase.rate / RATE_SCALE.get(phase.optimizer, 1.0)


def _only(other: Row | None, but: Collection[Any], row: Row) -> Row:
    """Returns `row` as one that matters only where the other has none of some values."""
    if other is None:
        return row
    values = tuple(value for value in other.values if value not in but)
    return dataclasses.replace(row, when=(other.name, values))


_STRAIGHT = ("none", "flip")  # policies that have no strength


def phases_of(
    settings: Mapping[str, Any],
    plan: Sequence[Phase],
    head: Head = Head(),  # noqa: B008 frozen
) -> tuple[Head, tuple[Phase, ...]]:
    """Returns what `settings` make of `plan` and `head`; a field they do not name stays.

    Raises:
        TlkitError: A name that nothing has, or a value that a phase refuses.
    """
    if strange := [name for name in settings if name not in names()]:
        raise unknown("setting", strange[0], names())
    chosen = {_HEAD_FIELDS[k]: v for k, v in settings.items() if k in _HEAD_FIELDS}
    head = dataclasses.replace(head, **chosen)
    rest = {k: v for k, v in settings.items() if k not in _HEAD_FIELDS}
    count = len(plan)
    if rest.get("unfreeze") == NONE:
        plan = plan[:-1] if count > 1 else plan
    phases = [
        _changed(phase, rest, i == 0 and count > 1, i == count - 1) for i, phase in enumerate(plan)
    ]
    return head, tuple(phases)


def _changed(phase: Phase, settings: Mapping[str, Any], first: bool, last: bool) -> Phase:
    """Applies settings to one phase; a phase that is both first and last counts as the last."""
    skipped = ("head_rate", "head_epochs", *_LAST)
    changes = {name: value for name, value in settings.items() if name not in skipped}
    if last:
        changes |= {name: settings[name] for name in _LAST if name in settings}
    elif first:
        renamed = {"head_rate": "rate", "head_epochs": "epochs"}
        changes |= {renamed[name]: settings[name] for name in renamed if name in settings}
    if changes.get("unfreeze") == NONE:
        changes["unfreeze"] = None
    optimizer = changes.get("optimizer", phase.optimizer)
    if "rate" in changes:
        changes["rate"] *= RATE_SCALE.get(optimizer, 1.0)
    elif optimizer != phase.optimizer:
        scales = (RATE_SCALE.get(name, 1.0) for name in (optimizer, phase.optimizer))
        changes["rate"] = phase.rate * next(scales) / next(scales)
    for name in ("epochs", "views", "batch_size", "patience", "accumulate"):
        if name in changes:
            changes[name] = int(changes[name])
    return dataclasses.replace(phase, **changes)


def load(path: str | os.PathLike[str], base: Space) -> Space:
    """Reads a space file; its rows replace those of `base` that have the same name.

    Raises:
        TlkitError: The file cannot be read, or a row in it is not understood.
    """
    given = _parse(Path(path))
    only = given.pop("only", False)
    rows = {} if only else {row.name: row for row in base.rows}
    for name, fields in given.items():
        rows[name] = _from_fields(name, fields, rows.get(name), path)
    return Space(_ordered(list(rows.values())))


def _ordered(rows: list[Row]) -> tuple[Row, ...]:
    """Puts a row after the one it depends on."""
    free = [row for row in rows if row.when is None]
    return (*free, *(row for row in rows if row.when is not None))


def _parse(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise TlkitError(f"Cannot read the search space {path}: {error}.") from error
    if not isinstance(found, dict):
        raise TlkitError(f"{path}: a space is a table of rows by name, not a list.")
    return found


def _from_fields(name, fields, before: Row | None, path) -> Row:
    if not isinstance(fields, dict):
        fields = {"pin": fields}  # `augment = "flip"` says the same as a table with `pin`
    known = ("pin", "values", "low", "high", "log", "default", "when")
    if strange := [key for key in fields if key not in known]:
        raise unknown(f"entry of row {name!r} in {path}", strange[0], known)
    if "pin" in fields:
        return Row(name, (fields["pin"],), when=before.when if before else None)
    fields = {**fields, "name": name, "values": tuple(fields.get("values", ()))}
    if "when" in fields:
        ((other, values),) = fields["when"].items()
        fields["when"] = (other, tuple(values))
    row = Row(**fields)
    keep = before is not None and "default" not in fields and row.holds(before.default)
    return dataclasses.replace(row, default=before.default) if keep and before else row


def _choice(name: str, values: Sequence[Any], default: Any) -> Row:
    values = tuple(values) if default in values else (*values, default)
    return Row(name, values, default=default)


def _around(name: str, middle: float, factor: float) -> Row:
    return Row(name, low=middle / factor, high=middle * factor, log=True, default=middle)


def _inside(decay: float) -> float:
    return min(max(decay, 1e-5), 0.1)


def _row(rows: Sequence[Row], name: str) -> Row:
    return next(row for row in rows if row.name == name)
