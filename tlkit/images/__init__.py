"""The user's images: read, checked, divided, remembered.

From a folder, a CSV file, arrays or a TensorFlow Dataset (`sources`) comes a `Table`; `checks`
judges every file (`verdicts`) and finds copies (`copies`); `split` divides; `manifest` writes down
what was divided. `dataset` puts it together as `Data`: read it first. `pixels` is the one rule by
which every image becomes numbers, in training and in the export alike.
"""
