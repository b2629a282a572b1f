"""What training will cost here, and what to leave out so that it fits.

`estimate` makes the cost of a plan out of a few steps that `timing` times and of what `counting`
counts; `budget` fits a plan into minutes and gigabytes; `costs` says what a network costs to use.
Start with `estimate`.
"""
