"""Train, validation and test: stratified, with groups and copies kept whole, written down.

The unit is a bundle: rows linked by a shared group or by being copies of one picture. Bundles are
handed out one by one, rarest classes first, to the split that lacks most. The order comes from
content hashes and the seed, never from the order of files on a disk.
"""

import numpy as np

from tlkit import files
from tlkit.errors import TlkitError
from tlkit.images.checks import Checked
from tlkit.images.copies import clusters
from tlkit.images.table import ROLES


def split(
    checked: Checked,
    *,
    val: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
    kept: np.ndarray | None = None,
) -> np.ndarray:
    """Returns "train", "val" or "test" for every row.

    Splits the table gives are respected. Where it gives "train" but no "val", validation images
    are taken from train; where it gives "train" or "test", no further test split is made.

    Args:
        val: Share of validation images, of those that are divided here; 0 for none.
        test: Share of test images; 0 for none.
        kept: A role per row that an earlier split decided, "" for new rows.

    Raises:
        TlkitError: A class cannot be in every split; the message names it and the remedy.
    """
    if min(val, test) < 0 or val + test >= 1:
        raise TlkitError(f"Shares val={val:g} and test={test:g} must be >= 0 and sum to below 1.")
    given = _given(checked)
    shares = _shares(given, val, test)
    roles = np.where(given == "train", "", given) if "val" in shares else given.copy()
    if kept is not None:
        usable = (given == "") | np.isin(kept, list(shares))
        roles = np.where((roles == "") & usable, kept, roles)
    bundles = _bundles(checked)
    _join_decided(roles, bundles)
    todo = [rows for rows in bundles if roles[rows[0]] == ""]
    parts = [np.unique(checked.table.labels[rows], return_counts=True) for rows in todo]
    have = _count(checked, roles, list(shares))
    targets = _targets(checked, parts, have, list(shares.values()))
    placed = _hand_out(_order(checked, todo, parts, seed), parts, have, targets)
    _spread(checked, parts, placed, have, list(shares))
    for i, role in placed.items():
        roles[todo[i]] = list(shares)[role]
    return roles


def _given(checked) -> np.ndarray:
    table = checked.table
    return np.full(len(table), "", "<U5") if table.split is None else table.split.astype("<U5")


def _shares(given, val, test) -> dict[str, float]:
    """Returns the roles that are handed out here, with their shares."""
    names = set(given.tolist())
    others = {}
    if val and "val" not in names:
        others["val"] = val
    if test and not names & {"train", "test"}:
        others["test"] = test
    return {"train": 1.0 - sum(others.values()), **others}


def _width(checked) -> int:
    return len(checked.table.class_names)


def _bundles(checked) -> list[np.ndarray]:
    """Returns the rows of each connected component of "same group" and "copy of"."""
    count = len(checked.table)
    first: dict = {}
    named = [(("copy", c), i) for i, c in enumerate(checked.clusters.tolist())]
    if checked.table.group is not None:
        groups = checked.table.group.tolist()
        named += [(("group", g), i) for i, g in enumerate(groups) if g != ""]
    component = clusters(count, [(first.setdefault(key, i), i) for key, i in named])
    order = np.argsort(component, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(component[order])) + 1)


def _join_decided(roles, bundles):
    """Gives open rows the role their bundle has: test before val before train."""
    for rows in bundles:
        if (roles[rows] == "").any() and (roles[rows] != "").any():
            strictest = max(
                roles[rows].tolist(), key=lambda role: ROLES.index(role) if role else -1
            )
            roles[rows] = np.where(roles[rows] == "", strictest, roles[rows])


def _order(checked, todo, parts, seed) -> list[int]:
    """Returns rare classes first and large bundles before small ones; else shuffled by content."""
    shuffled = [
        min(files.content_hash(f"{seed} {checked.hashes[i]}".encode()) for i in rows)
        for rows in todo
    ]
    bundles_of = np.zeros(_width(checked), int)
    for labels, _ in parts:
        bundles_of[labels] += 1
    rarity = [int(bundles_of[labels].min()) for labels, _ in parts]
    return sorted(range(len(todo)), key=lambda i: (rarity[i], -len(todo[i]), shuffled[i]))


def _count(checked, roles, names) -> np.ndarray:
    """Returns [roles, classes]: the images that are decided already."""
    labels = checked.table.labels
    return np.array([np.bincount(labels[roles == n], minlength=_width(checked)) for n in names])


def _targets(checked, parts, have, shares) -> np.ndarray:
    """Returns [roles, classes]: how many images of each class each role should have."""
    totals = have.sum(0)
    for labels, numbers in parts:
        totals[labels] += numbers
    rest = np.maximum(np.outer(shares[1:], totals), 1.0)
    return np.concatenate([np.maximum(totals - rest.sum(0), 1.0)[None], rest])


def _hand_out(order, parts, have, targets) -> dict[int, int]:
    """Returns bundle -> the role that lacks most of the classes in it, and adds it to `have`."""
    placed = {}
    for i in order:
        labels, numbers = parts[i]
        need = (targets[:, labels] - have[:, labels]) / targets[:, labels].sum(0)
        placed[i] = int(np.argmax(need @ numbers))
        have[placed[i], labels] += numbers
    return placed


def _spread(checked, parts, placed, have, names):
    """Moves the smallest bundles it can until every class is in every role, or raises."""
    for role, label in np.argwhere((have == 0) & (have.sum(0) > 0)):
        if have[role, label]:
            continue  # an earlier move brought it
        donors = [
            (int(numbers.sum()), i) for i, (labels, numbers) in enumerate(parts)
            if label in labels and (have[placed[i], labels] > numbers).all()
        ]  # fmt: skip
        if not donors:
            raise _lacking(checked, label, names[role], names)
        _, i = min(donors)
        labels, numbers = parts[i]
        have[placed[i], labels] -= numbers
        have[role, labels] += numbers
        placed[i] = role


def _lacking(checked, label, role, names) -> TlkitError:
    table = checked.table
    mine = table.labels == label
    groups = sum(bool(mine[rows].any()) for rows in _bundles(checked))
    linked = f" in {groups} groups that may not be divided" if groups < mine.sum() else ""
    return TlkitError(
        f"The class {table.class_names[label]!r} has {mine.sum()} images{linked}: too few to be in "
        f"each of {', '.join(names)} (nothing is left for {role}). Add images of it, remove the "
        "class, give your own split, or set a share to 0."
    )


# The manifest
