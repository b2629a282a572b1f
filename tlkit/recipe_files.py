"""Where recipe files of 0.2.0 find what runs them; newer ones call `tlkit.run_recipe`."""

from tlkit.workflows.recipes import run_recipe as main

__all__ = ["main"]
