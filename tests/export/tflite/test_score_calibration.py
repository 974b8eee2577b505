"""Calibrated scores against scikit-learn's logistic regression, and against how often classes are right."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from keras_se.errors import InputError
from keras_se.export.tflite.score_calibration import fit_scores

CLASSES = 5


def overconfident(images=4000, temperature=3.0):
    """Softmaxes of logits that are three times as large as their labels' chances say."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, (images, CLASSES))
    chances = softmax(logits)
    labels = np.array([rng.choice(CLASSES, p=chance) for chance in chances])
    return softmax(temperature * logits), labels


def softmax(logits):
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def test_it_is_the_logistic_regression_on_log_odds():
    scores, labels = overconfident()
    odds = np.log(scores / (1 - scores))
    right = labels[:, None] == np.arange(CLASSES)
    oracle = LogisticRegression(C=np.inf, tol=1e-9).fit(odds.reshape(-1, 1), right.ravel())
    fitted = fit_scores(scores, labels)
    np.testing.assert_allclose([fitted.slope, fitted.offset], [*oracle.coef_[0], *oracle.intercept_], rtol=1e-4)


def test_a_calibrated_score_is_how_often_the_class_is_right():
    scores, labels = overconfident()
    calibrated = fit_scores(scores, labels)(scores)
    best, right = calibrated.max(1), calibrated.argmax(1) == labels
    assert scores.max(1).mean() - right.mean() > 0.2
    assert abs(best.mean() - right.mean()) < 0.05
    np.testing.assert_array_equal(calibrated.argmax(1), scores.argmax(1))


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (np.zeros((0, 3)), np.zeros(0, int), r"^scores need images with a label each; got 0 and 0 labels$"),
        (np.full((2, 4), 0.25), [1], r"^scores need images with a label each; got 2 and 1 labels$"),
        (
            np.full((2, 2), 0.5),
            [[0, 1], [1, 0]],
            r"^labels must be one number of a class an image, 0 to 1; got \(2, 2\)",
        ),
        (np.full((2, 2), 0.5), [0, 2], r"^labels must be one number of a class an image, 0 to 1; got .* from 0 to 2$"),
        (np.array([[2.0, -1.0]]), [0], r"^scores must be shares of 1, .*; got -1 to 2, of a sum of 1$"),
        (np.array([[0.9, 0.1], [0.2, 0.8]]), [0, 1], r"^the scores of 2 images tell no calibration; give more images$"),
        (np.array([[0.9, 0.1], [0.2, 0.8]]), [1, 0], r"^the scores of 2 images tell no calibration; give more images$"),
        (np.full((4, 2), 0.5), [0, 1, 1, 0], r"^the scores of 4 images tell no calibration; give more images$"),
    ],
)
def test_what_tells_no_calibration_is_refused(scores, labels, message):
    with pytest.raises(InputError, match=message):
        fit_scores(scores, np.array(labels))
