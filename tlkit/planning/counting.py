"""How many images and rows each phase of a plan has to work on: counted, nothing is run."""

import dataclasses
from collections.abc import Sequence

from tlkit.augmentation import policies
from tlkit.features import frozen
from tlkit.images.dataset import Data, Images
from tlkit.models.network import PIXELS, POOLED
from tlkit.phases.phase import Phase, view_count
from tlkit.training import session


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much one phase has to do.

    Attributes:
        train: Training images, all of which every epoch takes.
        val: Validation images, all of which are judged after every epoch.
        decoded: Images it has to decode before.
        views: Rows of training views it has to compute before the first epoch.
        judged: Rows of validation images it has to compute before the first epoch.
        cached: Whether it trains on kept rows; if not, every epoch computes them anew.
        cache: Bytes of the kept rows.
    """

    train: int
    val: int
    decoded: int
    views: int
    judged: int
    cached: bool
    cache: int


@dataclasses.dataclass(frozen=True)
class Counter:
    """Counts what the phases of a plan have to do, given what the store holds by now.

    Attributes:
        below: What computes frozen rows, and knows which of them may be kept.
        plan: The phases, all of them: one may be served by an earlier one.
        seed: Of the run, which its views depend on.
    """

    below: frozen.Frozen
    data: Data
    plan: Sequence[Phase]
    seed: int

    def sizes(self, number: int) -> Sizes:
        """Returns how much phase `number` has to do."""
        train, val = len(self.data.train), len(self.data.val)
        cached = self._cached(number)
        computed = cached and not self._served(number)
        return Sizes(
            train=train,
            val=val,
            decoded=train + val if number == 0 else 0,  # for all phases
            views=self._absent_views(number) if computed else 0,
            judged=self._absent(self.data.val, number, frozen.View()) if computed else 0,
            cached=cached,
            cache=self._cache(number) if cached else 0,
        )

    def _boundary(self, number: int) -> str:
        return self.below.model.boundary_below(self.plan[number].unfreeze)

    def _views(self, number: int) -> int:
        """Returns how many views of an image differ: all are the same without augmentation."""
        phase = self.plan[number]
        return 1 if phase.augment == "none" else view_count(phase)

    def _look(self, number: int) -> tuple:
        phase = self.plan[number]
        return phase.augment, phase.strength, self._views(number)

    def _cached(self, number: int) -> bool:
        boundary = self._boundary(number)
        return boundary != PIXELS and self.below.fits(
            self.data.train, boundary, self._views(number)
        )

    def _served(self, number: int) -> bool:
        """Says whether the pass of an earlier phase, one of the head alone, keeps its rows too."""
        look, boundary = self._look(number), self._boundary(number)
        return any(
            self._look(earlier) == look and self._kept_besides(earlier) == boundary
            for earlier in range(number)
            if self._cached(earlier)
        )

    def _kept_besides(self, number: int) -> str | None:
        return session.boundary_of_same_pass(self.below, self.plan, number, self.data.train)

    def _absent_views(self, number: int) -> int:
        """Returns how many rows of its training views are not in the store."""
        phase = self.plan[number]
        policy = policies.policy(phase.augment, phase.strength)
        views = [frozen.View(policy, self.seed, view) for view in range(self._views(number))]
        return sum(self._absent(self.data.train, number, view) for view in views)

    def _absent(self, images: Images, number: int, view: frozen.View) -> int:
        kind = self.below.kind(images, self._boundary(number), view)
        return len(self.below.store.missing(kind, images.hashes))

    def _cache(self, number: int) -> int:
        """Returns the bytes of its training rows."""
        boundary = self._boundary(number)
        size = self.below.row_bytes(boundary) * self._views(number) * len(self.data.train)
        # Feature maps are kept in half precision where that does no harm.
        return size if boundary == POOLED else size // 2
