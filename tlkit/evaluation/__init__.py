"""Numbers about predictions, as pure functions of arrays; neither Keras nor TensorFlow is loaded.

`metrics` judges probabilities and gives every headline its interval (`bootstrap`); `calibration`
fits the temperature; `probes` says what features are worth, out of fold (`folds`, `logistic`);
`more_images` says what more of them would bring. Start with `metrics`.
"""
