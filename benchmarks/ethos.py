"""Compare Vela's estimate for SE-MobileNet at 224 pixels in int8 with that for MobileNet: the cost of SE on an NPU.

    python benchmarks/ethos.py [--target ethos_u65_512] [--images 8]

Estimates of a system's model, not measurements. The weights are random: Vela compresses trained ones better, of both.
"""

import argparse
import tempfile

import keras
import numpy as np

import keras_se
from keras_se.export import export

PLACEMENTS = ("none", "standard", "3x3")  # the first is the plain network


def main() -> None:
    """Print milliseconds, cycles and memory of each placement, and its ratio to the plain network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="ethos_u65_512")
    parser.add_argument("--images", type=int, default=8, help="images to calibrate on")
    options = parser.parse_args()
    images = np.random.default_rng(0).random((options.images, 224, 224, 3)).astype("float32")
    manifests = {placement: compiled(placement, options.target, images) for placement in PLACEMENTS}
    plain = manifests["none"]["estimates"]["milliseconds"]
    system = manifests["none"]
    print(f"{system['accelerator']}, {system['system_config']}, {system['memory_mode']}, Vela {system['version']}")
    print(f"{'SE':10}{'ms':>8}{'ratio':>8}{'cycles':>12}{'SRAM KiB':>10}{'DRAM + flash KiB':>18}")
    for placement, manifest in manifests.items():
        figures = manifest["estimates"]
        outside = (figures["dram_bytes"] + figures["flash_bytes"]) / 1024
        print(
            f"{placement:10}{figures['milliseconds']:8.3f}{figures['milliseconds'] / plain:8.2f}"
            f"{figures['cycles']:12,}{figures['sram_bytes'] / 1024:10.0f}{outside:18.0f}"
        )


def compiled(placement: str, target: str, images: np.ndarray) -> dict:
    """Return Vela's figures from the manifest of the target's file."""
    keras.utils.set_random_seed(0)
    model = keras_se.create_model("se_mobilenet", placement=placement)
    with tempfile.TemporaryDirectory() as folder:
        [artifact] = export(model, folder, recipes=("static_wi8_ai8",), target=target, calibration=images)
    return artifact.manifest["vela"]


if __name__ == "__main__":
    main()
