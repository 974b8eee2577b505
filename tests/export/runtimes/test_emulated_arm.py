"""LiteRT on emulated Arm cores: the same files give what they give here."""

import numpy as np
import pytest

from keras_se.export.runtimes.registry import run_file
from keras_se.export.sandbox.remote import machine, running_on
from keras_se.export.tflite.model import TFLiteModel

pytestmark = pytest.mark.emulated


@pytest.fixture
def pair(golden, trained, arm_core):
    """Function of recipe and engine that returns the logits of 16 images here and there, and the step."""

    def values(recipe, engine):
        path = golden / f"se_mobilenet.{recipe}.tflite"
        file = TFLiteModel.load(path)
        here = run_file(engine, file, trained.images[:16], path)
        with running_on(arm_core):
            there = run_file(engine, file, trained.images[:16], path)
        assert np.unique(here.values).size > 20  # else two constants could agree
        return here.values, there.values, here.lsb

    return values


def test_the_core_is_the_emulated_one(arm_core):
    with running_on(arm_core) as emulated:
        assert machine() == emulated
    assert emulated.architecture == "aarch64"
    assert emulated.processor.lower() in arm_core
    assert ("asimddp" in emulated.features) == ("a76" in arm_core)


def test_reference_kernels_are_equal_to_the_bit_in_int8(pair):
    here, there, _ = pair("static_wi8_ai8", "litert_reference")
    np.testing.assert_array_equal(there, here, strict=True)


def test_xnnpacks_int8_is_within_steps(pair):
    """Its sums are exact integers on each processor; a kernel may round a half of a step to either side, and each of
    27 layers adds to that."""
    here, there, lsb = pair("static_wi8_ai8", "litert")
    assert np.max(np.abs(there - here)) <= 3 * lsb


@pytest.mark.parametrize("engine", ["litert", "litert_reference"])
def test_float_is_the_same_up_to_the_order_of_sums(pair, engine):
    here, there, _ = pair("float32", engine)
    # 54 layers of up to 512 terms in vectors of 4 and of 16, with and without fused products: a few roundings of 2**-24
    # of the largest logit a layer.
    assert np.max(np.abs(there - here)) <= 1e-5 * np.max(np.abs(here))
