"""Planted faults: what a tired engineer would do to tlkit, and whether a test says no.

Each `*.toml` file of this folder lists faults of one part of the toolkit: a text that stands once
in `tlkit/`, what is put in its place, and the test files that should notice. `make faults` plants
them one at a time; see `__main__.py`.
"""
