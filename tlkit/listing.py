"""Rows of values as an aligned text table."""
