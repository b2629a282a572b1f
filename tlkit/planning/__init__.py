"""What training will cost here, and what to leave out so that it fits.

`estimate` times a few steps of each phase and counts the rest; `budget` fits a plan into minutes
and gigabytes; `costs` says what a network costs to use. Start with `estimate`.
"""
