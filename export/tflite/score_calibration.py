"""Scores that say how often a class is right (Platt, Probabilistic outputs for support vector machines, 1999)."""

from dataclasses import dataclass

import numpy as np

from keras_se.errors import InputError

_STEPS = 100
_STEEPEST = 20.0  # all images are told apart, and any slope is better than a lower one
_FLATTEST = 1e-3  # higher scores are not better
_LEAST = 1e-16  # a lower share counts as this in MediaPipe


@dataclass(frozen=True)
class ScoreCalibration:
    """A score `s` becomes `1 / (1 + exp(-(slope * log(s / (1 - s)) + offset)))`, for every class alike.

    With a slope above 0 the order of the classes stays.
    """

    slope: float
    offset: float

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Return the calibrated scores, of any shape."""
        return 1 / (1 + np.exp(-(self.slope * _log_odds(scores) + self.offset)))


def fit_scores(scores: np.ndarray, labels: np.ndarray) -> ScoreCalibration:
    """Fit the calibration of the greatest likelihood, of each class against the rest.

    Args:
        scores: a softmax's `(images, classes)`, of images that the network was not trained on.
        labels: int `(images,)`.
    Returns:
        A function of scores, and what `export` takes as `score_calibration`.
    Raises:
        InputError: the scores are not shares, there are no images or not a label for each, or the images are so few or
            the scores so poor that they tell no calibration under which a higher score is better.
    Example:
        >>> scores = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.9, 0.1]])  # too sure: one of four is wrong
        >>> calibration = fit_scores(scores, np.array([0, 0, 0, 1]))
        >>> float(calibration(np.array(0.9)).round(2))
        0.75
    Source: Platt 1999, Probabilistic outputs for support vector machines.
    """
    if len(scores) == 0 or len(scores) != len(labels):
        raise InputError(f"scores need images with a label each; got {len(scores)} and {len(labels)} labels")
    if np.shape(labels) != (len(scores),) or not np.isin(labels, np.arange(scores.shape[1])).all():
        raise InputError(
            f"labels must be one number of a class an image, 0 to {scores.shape[1] - 1}; got {np.shape(labels)} from "
            f"{np.min(labels):g} to {np.max(labels):g}"
        )
    if scores.min() < 0 or not np.allclose(scores.sum(1), 1, atol=1e-3):
        raise InputError(
            f"scores must be shares of 1, as a softmax gives them; got {scores.min():g} to {scores.max():g}, of a sum "
            f"of {scores[0].sum():g}"
        )
    odds = _log_odds(scores).ravel()
    inputs = np.stack([odds, np.ones_like(odds)])
    right = (np.arange(scores.shape[1]) == np.asarray(labels)[:, None]).ravel()
    parameters = np.zeros(2)
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-parameters @ inputs))
        curvature = (inputs * (chance * (1 - chance))) @ inputs.T
        step = np.linalg.lstsq(curvature, inputs @ (right - chance), rcond=None)[0]
        parameters = parameters + step * min(1.0, 1 / np.abs(step).max(initial=1e-9))  # Newton's, but no leap
    slope, offset = parameters.tolist()
    if not (_FLATTEST < slope < _STEEPEST and np.isfinite(offset)):
        raise InputError(f"the scores of {len(scores)} images tell no calibration; give more images")
    return ScoreCalibration(slope, offset)


def _log_odds(scores: np.ndarray) -> np.ndarray:
    scores = np.asarray(scores, "float64")
    return np.log(np.maximum(scores, _LEAST)) - np.log(np.maximum(1 - scores, _LEAST))
