"""A model saved out of `distributed` is read by a process that has imported no more than the package."""

import subprocess
import sys

import keras

import keras_se
from keras_se.training import distributed


def test_a_distributed_model_loads_with_the_package_alone(tmp_path):
    path = tmp_path / "model.keras"
    network = keras_se.create_model("se_mobilenet", input_shape=(32, 32, 3), classes=3, alpha=0.1)
    distributed(network).save(path)
    code = "import sys, keras, keras_se; print(keras.models.load_model(sys.argv[1]).count_params())"
    printed = subprocess.run([sys.executable, "-c", code, path], check=True, capture_output=True, text=True).stdout
    assert int(printed) == network.count_params()
    assert isinstance(keras.models.load_model(path), keras.Model)
