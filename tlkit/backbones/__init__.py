"""Pretrained networks, and the stages at which they can be cut.

`table` lists what there is, without loading Keras; `loading` builds a `Backbone` (see `backbone`)
with values from `weights`; `preprocess` is the layer that turns raw pixels into what the network
was trained on; `surgery` finds cut points and takes networks apart. Start with `backbone`.
"""
