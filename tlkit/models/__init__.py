"""The classifier: preprocessing, backbone, pool and head as one Keras model.

`classifier` is the one to read first: raw pixels in, logits out, and a `segment` between any two
boundaries. `extractor` keeps the backbone in inference mode whatever `fit` says; `heads` are the
rows a head is built from; `classes` renames, merges, adds and drops classes of a finished model.
"""
