"""The clock of a run that must end in time."""

import time

import keras


class Deadline(keras.callbacks.Callback):
    """Ends training after the epoch in which the time is up; no later phase trains.

    Args:
        seconds: From the making of the callback.
    """

    def __init__(self, seconds: float):
        super().__init__()
        self.end = time.monotonic() + seconds

    def due(self) -> bool:
        """Says whether the time is up; a session asks before each phase."""
        return time.monotonic() >= self.end

    def on_epoch_end(self, epoch, logs=None):
        """Stops where the next epoch would begin after the end."""
        if self.due():
            self.model.stop_training = True
