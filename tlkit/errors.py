"""The one exception a user is meant to see, and the sentence for an unknown name."""

import difflib
from collections.abc import Iterable


class TlkitError(ValueError):
    """A mistake the user can mend. The command line prints it as one line and exits with 2."""


class AuditError(TlkitError):
    """A promise about training was broken: a frozen variable moved, or an unfrozen one did not."""


class ParityError(TlkitError):
    """An exported model does not answer as the trained one does."""


def unknown(kind: str, name: object, known: Iterable[str]) -> TlkitError:
    """Returns the error for a name that is not in `known`, with the nearest ones first."""
    known = sorted(known)
    near = difflib.get_close_matches(str(name).lower(), known, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    listed = ", ".join(known[:60]) + (", ..." if len(known) > 60 else "")
    return TlkitError(f"Unknown {kind} {name!r}.{hint} Known: {listed}.")
