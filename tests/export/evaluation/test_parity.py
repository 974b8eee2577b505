"""Figures of a comparison against NumPy, on outputs that are made up."""

import numpy as np
import pytest

from keras_se.errors import InputError
from keras_se.export import RECIPES, compare
from keras_se.export.evaluation import parity, verdict
from keras_se.export.evaluation.originals import Originals
from keras_se.export.runtimes.base import Outputs


@pytest.fixture
def made_up(trained, monkeypatch):
    """`compare` on outputs of one's own; only the file's types are read."""

    def run(expected, got, lsb=None, labels=None):
        monkeypatch.setattr(parity, "_run_model", lambda *_: Outputs(np.array(expected, float), None))
        monkeypatch.setattr(Originals, "predicted", lambda *_: None)
        monkeypatch.setattr(parity, "_run_file", lambda *_: Outputs(np.array(got, float), lsb))
        file = trained.files["float32" if lsb is None else "static_wi8_ai8"]
        float_file = trained.files["float32"]
        return compare(trained.model, file, trained.images[: len(got)], labels=labels, float_file=float_file)

    return run


def test_figures_are_numpys(made_up):
    expected = np.array([[1.0, 4.0, -2.0], [0.5, 0.25, 3.0]])
    got = expected + np.array([[0.5, 0, 0], [0, 0.25, 0]])
    row = made_up(expected, got, lsb=0.25, labels=np.array([1, 0]))
    assert row.max_abs == 0.5
    assert row.max_lsb == 2.0
    assert row.sqnr_db == pytest.approx(10 * np.log10(np.sum(expected**2) / 0.3125))
    assert row.top1_agreement == 1.0
    assert row.accuracy == 0.5


def test_equal_outputs_have_no_error(made_up):
    row = made_up([[1.0, 2.0]], [[1.0, 2.0]])
    assert (row.max_abs, row.sqnr_db, row.verdict) == (0.0, float("inf"), "pass")
    assert row.to_dict()["sqnr_db"] is None


def test_classes_of_one_integer_agree(made_up):
    """An 8-bit output that gives two classes the same value has not chosen against either."""
    assert made_up([[1.0, 0.9]], [[1.0, 1.0]], lsb=0.25).top1_agreement == 1.0
    assert made_up([[1.0, 0.9]], [[0.75, 1.0]], lsb=0.25).top1_agreement == 0.0


def test_each_bound_fails_by_itself(made_up):
    base = np.full((100, 2), 10.0) * [1, -1]
    one_off = base.copy()
    one_off[0, 0] += 0.01  # 1e-3 of the largest logit, and 103 dB
    assert made_up(base, one_off).failures == ("error 0.001 of the largest logit, at most 0.0001",)
    noisy = made_up(base * 1e6 + 0, base * 1e6 + 900 * np.sign(base))  # 9e-5 of the largest, 80.9 dB
    assert noisy.verdict == "pass"
    assert made_up(*tied(4)).failures == ("top-1 agreement 0.960 of 100 images, surely below 0.99",)
    assert made_up(*tied(2)).verdict == "pass", "0.98, whose interval reaches to 0.994"


def tied(count):
    """Return the logits of 100 images, and others that take the other class where both are all but equal."""
    edge = np.arange(100)[:, None] < count
    return tuple(np.where(edge, [pair], [[100.0, -100.0]]) for pair in ([2e-6, 1e-6], [1e-6, 2e-6]))


def test_outputs_without_a_signal_fail_whatever_is_predicted():
    """An int8 output that is one integer for every class agrees with each, and its noise is the signal itself."""
    silent = verdict.Figures(1.0, 0.0, 1.0, 100)
    _, failures = verdict.hold_predicted(RECIPES["static_wi8_ai8"].tolerance, silent, silent, None)
    assert failures == ("SQNR 0.0 dB, at least 3",)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: compare(t.model, t.files["float32"], t.images[:0]), "at least one image"),
        (lambda t: compare(t.model, t.files["float32"], t.images[:, :16]), r"\(n, 32, 32, 3\); got \(100, 16"),
        (lambda t: compare(t.model, t.files["float32"], t.images, engine="x"), "engine must be one of litert, .*'x'"),
        (lambda t: compare(t.model, t.files["float16"], t.images, engine="tflm"), "tflm cannot run float16 files"),
    ],
)
def test_what_cannot_be_compared_is_refused(trained, call, message):
    with pytest.raises(InputError, match=message):
        call(trained)
