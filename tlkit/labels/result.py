"""What a check of labels found, as a value."""

import dataclasses

from tlkit.evaluation import more_images
from tlkit.images.dataset import Images
from tlkit.inspection import data_map
from tlkit.labels.worklist import Worklist


@dataclasses.dataclass(frozen=True, eq=False)
class LabelCheck:
    """What one pass over the images told about their labels.

    Attributes:
        images: What was judged.
        worklist: The doubtful labels, worst first.
        curve: What more images would bring; None where there are too few to say.
        plane: The map; its rows are positions in `images`.
        notes: What the user should know about the three.
    """

    images: Images
    worklist: Worklist
    curve: more_images.Curve | None
    plane: data_map.DataMap | None
    notes: tuple[str, ...]

    def summary(self) -> str:
        """Returns the findings on a few lines."""
        lines = [self.worklist.summary()]
        if self.curve is not None:
            lines.append(self.curve.summary())
        return "\n".join([*lines, *self.notes])
