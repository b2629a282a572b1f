"""One run from its first phase to its last, proven and resumable.

`train` is the entry: it makes a `Run` (a folder), and a `session` that drives it phase by phase. A
`phase_trainer` takes the steps of one phase; the `audit` proves what moved and what did not; the
`checkpoint` is all that a resumed run needs. `rate_finder` is the learning-rate range test.
"""
