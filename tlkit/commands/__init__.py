"""The commands of `tlkit`, one module for each or for a few that belong together."""
