"""Interval of a paired difference, against the published formula, and against chance."""

import numpy as np
import pytest

from keras_se.export.evaluation.paired_interval import highest_share, loss


def outcomes(lost, gained, alike):
    reference = np.array([True] * lost + [False] * gained + [True] * alike)
    return reference, np.array([False] * lost + [True] * gained + [True] * alike)


def test_the_interval_is_agrestis_and_mins():
    """Table 1 of their article: 944 voters, 150 and 86 of whom changed their mind; by hand, with half a voter more."""
    measured = loss(*outcomes(150, 86, 708))
    difference = 64 / 946
    error = np.sqrt((151 / 946 + 87 / 946 - 2 / 946 + 1 / 946) - difference**2) / np.sqrt(946)
    assert measured.points == pytest.approx(100 * 64 / 944)
    assert (measured.low + measured.high) / 2 == pytest.approx(100 * difference)
    assert (measured.high - measured.low) / 2 == pytest.approx(100 * 1.96 * error, rel=2e-3)  # of the half voters


def test_the_interval_of_a_share_is_wilsons():
    """Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3: 81 of 263, 0 of 20
    and 1 of 29."""
    for share, images, upper in ((81 / 263, 263, 0.3662), (0, 20, 0.1611), (1 / 29, 29, 0.1718)):
        assert highest_share(share, images) == pytest.approx(upper, abs=5e-5)


def test_files_that_differ_nowhere_have_an_interval():
    measured = loss(*outcomes(0, 0, 1000))
    assert measured.points == 0
    assert measured.high == pytest.approx(0.196, abs=1e-3)
    assert measured.low == -measured.high


def test_it_covers_what_other_images_lose():
    """95 of 100 intervals hold the true loss; over 2,000 the share is known to 1 %."""
    rng = np.random.default_rng(0)
    draws = rng.choice(3, (2_000, 1_000), p=[0.02, 0.011, 0.969])
    intervals = [loss(draw != 1, draw != 0) for draw in draws]
    covered = np.mean([interval.low <= 0.9 <= interval.high for interval in intervals])
    assert 0.93 <= covered <= 0.98


def test_as_many_images_as_it_asks_for_show_the_loss():
    measured = loss(*outcomes(5, 4, 991))
    assert measured.high > 0.5
    needed = measured.images_for(0.5)
    times = needed / 1000
    again = loss(*outcomes(round(5 * times), round(4 * times), needed - round(5 * times) - round(4 * times)))
    assert again.high == pytest.approx(0.5, abs=0.02)
    assert measured.images_for(0.05) is None
