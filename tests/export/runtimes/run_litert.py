"""Child of test_emulated.py: `python run_litert.py IMAGES OUTPUTS FILE…`, in LiteRT and NumPy alone.

It imports neither Keras nor this package: emulated, they would take minutes.
"""

import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType


def main(images: str, outputs: str, *files: str) -> None:
    """Write what each file gives for the images, raw, on XNNPACK and on the reference kernels."""
    results = {}
    for file in files:
        for name, kind in (("xnnpack", OpResolverType.AUTO), ("reference", OpResolverType.BUILTIN_REF)):
            interpreter = Interpreter(file, experimental_op_resolver_type=kind, num_threads=1)
            interpreter.allocate_tensors()
            [input_details], [output_details] = interpreter.get_input_details(), interpreter.get_output_details()
            rows = []
            for image in np.load(images):
                raw = image if input_details["dtype"] == np.float32 else np.round(255 * image) - 128
                interpreter.set_tensor(input_details["index"], raw[None].astype(input_details["dtype"]))
                interpreter.invoke()
                rows.append(interpreter.get_tensor(output_details["index"])[0].copy())
            results[f"{Path(file).stem}:{name}"] = np.stack(rows)
    np.savez(outputs, **results)


if __name__ == "__main__":
    main(*sys.argv[1:])
