"""Name the classes of an image by a .tflite file of keras-se: python raspberry_pi.py FILE.tflite IMAGE [--top 3]

For a Raspberry Pi, or any computer with Python. It wants three packages, and neither TensorFlow nor keras-se:

    pip install ai-edge-litert numpy pillow

Beside FILE.tflite must lie its manifest FILE.tflite.json, which export has written: it says how an image becomes the
network's input, and the classes' names. A file takes float32, int8 or uint8; this program asks the file which.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps

KERNELS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos3": Image.Resampling.LANCZOS,
    "area": Image.Resampling.BOX,
}


def prepare(image: Image.Image, preprocessing: dict) -> np.ndarray:
    """Return the network's input, float32 (1, height, width, 3): resized, centre cropped, normalised."""
    height, width = preprocessing["height"], preprocessing["width"]
    image = ImageOps.exif_transpose(image).convert("RGB")  # as a viewer shows it
    ratio = max(
        math.ceil(height / preprocessing["crop"]) / image.height,
        math.ceil(width / preprocessing["crop"]) / image.width,
    )
    size = max(width, round(image.width * ratio)), max(height, round(image.height * ratio))
    image = image.resize(size, KERNELS[preprocessing["interpolation"]])
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    pixels = np.asarray(image.crop((left, top, left + width, top + height)), np.float32)
    normalised = (pixels / 255 - np.array(preprocessing["mean"])) / np.array(preprocessing["std"])
    return normalised[None].astype(np.float32)


def classify(interpreter: Interpreter, values: np.ndarray) -> np.ndarray:
    """Return the scores of the classes, as float, whatever the file's types are."""
    [input_details], [output_details] = interpreter.get_input_details(), interpreter.get_output_details()
    if input_details["dtype"] != np.float32:  # int8 or uint8: what is real is (integer - zero point) * scale
        scale, zero_point = input_details["quantization"]
        limits = np.iinfo(input_details["dtype"])
        values = np.clip(np.round(values / scale) + zero_point, limits.min, limits.max)
    interpreter.set_tensor(input_details["index"], values.astype(input_details["dtype"]))
    interpreter.invoke()
    scores = interpreter.get_tensor(output_details["index"])[0]
    if output_details["dtype"] == np.float32:
        return scores
    scale, zero_point = output_details["quantization"]
    return (scores.astype(np.float32) - zero_point) * scale


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="the .tflite file; its .json lies beside it")
    parser.add_argument("image", type=Path)
    parser.add_argument("--top", type=int, default=3, help="how many classes")
    options = parser.parse_args()

    manifest = json.loads(options.file.with_name(f"{options.file.name}.json").read_text())
    interpreter = Interpreter(str(options.file), num_threads=4)
    interpreter.allocate_tensors()
    scores = classify(interpreter, prepare(Image.open(options.image), manifest["preprocessing"]))
    names = manifest.get("classes") or [str(number) for number in range(len(scores))]
    for number in np.argsort(-scores, kind="stable")[: options.top]:
        print(f"{scores[number]:.4f} {names[number]}")


if __name__ == "__main__":
    main()
