"""tlkit beside the usual ways to fine-tune an image classifier: time, memory and accuracy."""
