"""Out of the workshop: a SavedModel that takes image bytes, and answers from one.

`export` writes it and proves, in a process that has only TensorFlow, that it answers as the model
does; `saved_model` asks it and needs neither Keras nor the rest of tlkit.
"""
