"""Intervals of what is measured on a few hundred images: the accuracy that a file loses against its reference on the
same images (a paired difference), and a share of images."""

import math
from dataclasses import dataclass

import numpy as np

_QUANTILE = 1.959964  # of the normal distribution, two-sided 95 %

METHOD = "95 %, paired differences, Wald with half an image added to each outcome (Agresti and Min 2005)"


@dataclass(frozen=True)
class Loss:
    """Accuracy of the reference less that of the file, in percentage points, with its 95 % interval.

    Only the images count that one of the two has right and the other wrong. To each of the four outcomes half an image
    is added, so that files that differ on no image have an interval too.

    Source: Agresti and Min 2005, "Simple improved confidence intervals for comparing matched proportions", Statistics
    in Medicine 24: 729-740.
    """

    points: float
    low: float
    high: float
    images: int
    lost: int
    """Images that the reference has right and the file wrong."""
    gained: int
    """Images that the file has right and the reference wrong."""

    def images_for(self, points: float) -> int | None:
        """Return the number of images that would show a loss of at most so many points, if they came out as these.

        None if no number would: these lose as many already.
        """
        if self.points >= points:
            return None

        def shows(images: int) -> bool:
            times = images / self.images
            return _interval(self.lost * times, self.gained * times, images)[1] <= points

        below, above = 0, self.images
        while not shows(above):
            below, above = above, 2 * above
        while above - below > 1:
            middle = (below + above) // 2
            below, above = (below, middle) if shows(middle) else (middle, above)
        return above

    def __str__(self) -> str:
        return f"{self.points:.2f} ({self.low:.2f} to {self.high:.2f})"


def loss(reference_right: np.ndarray, right: np.ndarray) -> Loss:
    """Return the loss of accuracy, from the images that each has right.

    Args:
        reference_right: boolean `(n,)`, of the reference.
        right: boolean `(n,)`, of the file, on the same images.
    """
    images = len(right)
    lost, gained = int(np.sum(reference_right & ~right)), int(np.sum(right & ~reference_right))
    points = round(100 * (lost - gained) / images, 6)  # 1 - 0.98 is a little more than two points
    return Loss(points, *_interval(lost, gained, images), images, lost, gained)


def highest_share(share: float, images: int) -> float:
    """Return the upper end of the 95 % interval of a share of so many images (Wilson 1927)."""
    square = _QUANTILE**2 / images
    spread = math.sqrt(square * (share * (1 - share) + square / 4))
    return (share + square / 2 + spread) / (1 + square)


def _interval(lost: float, gained: float, images: int) -> tuple[float, float]:
    """Return both ends, in percentage points."""
    total = images + 2
    centre = (lost - gained) / total
    spread = _QUANTILE * math.sqrt(((lost + gained + 1) / total - centre**2) / total)
    return 100 * (centre - spread), 100 * (centre + spread)
