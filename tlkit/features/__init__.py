"""Features at the freeze boundary, computed once and kept by content.

`frozen` runs the frozen part of a classifier and keeps its rows in a `store`; `engines` are the
ways to run it, `folding` the default one; `decoded` keeps pixels and reads ahead; `stages` gives
the features of all stages in one pass. Start with `frozen`.
"""
