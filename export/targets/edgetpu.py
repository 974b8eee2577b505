"""Coral's Edge TPU.

In: an int8 file. Out: the file, with uint8 input and output on request, which keeps the published rules, compiled where
the compiler is on PATH.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras_se.errors import InputError
from keras_se.export.quantization.recipes import RECIPES
from keras_se.export.targets.base import (
    DILATIONS,
    DIMENSIONS,
    NO_FLOATS,
    SOFTMAXES,
    VECTORS,
    AllBut,
    Deliverable,
    Limit,
    QuantizedModel,
    Target,
)
from keras_se.export.targets.edgetpu_rules import SUPPORTED, lint, summary
from keras_se.export.tflite.io_types import with_uint8_io
from keras_se.export.tflite.model import TFLiteModel

COMPILER = "edgetpu_compiler"
_SECONDS = 600  # the compiler's own limit is 180; beyond this it hangs


def package(quantized: QuantizedModel, target: Target) -> Deliverable:
    """Return the file, compiled where `edgetpu_compiler` is on PATH; the manifest says whether it was.

    Raises:
        InputError: an operation breaks a published rule, or the compiler fails.
    """
    floating = sorted({*quantized.file.float_operations} - {"QUANTIZE", "DEQUANTIZE"})
    if floating:
        raise InputError(
            f"{target.name} computes in 8-bit integers alone, which there are none of for {', '.join(floating)}; build "
            "and train the network without"
        )
    file = with_uint8_io(quantized.file) if quantized.io == "uint8" else quantized.file
    findings = lint(file)
    if findings:
        raise InputError(f"{target.name} wants {summary(findings)}")
    compiler = shutil.which(COMPILER)
    if compiler is None:
        return Deliverable(file, {"edgetpu": {"compiled": False, "checked": "published rules only"}})
    return _compiled(file.content, compiler)


def _compiled(content: bytes, compiler: str) -> Deliverable:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(content)
        try:
            run = subprocess.run(
                [compiler, "-s", "-o", folder, path], capture_output=True, text=True, check=False, timeout=_SECONDS
            )
        except subprocess.TimeoutExpired:
            raise InputError(f"{COMPILER} did not end within {_SECONDS} s; run it by hand on the file") from None
        compiled = path.with_name("model_edgetpu.tflite")
        report = (run.stdout + run.stderr).strip()
        if run.returncode or not compiled.is_file():
            last = report.splitlines()[-1] if report else "it said nothing"
            raise InputError(f"{COMPILER} failed with status {run.returncode} ({last}); run it by hand on the file")
        file = TFLiteModel(compiled.read_bytes())
        return Deliverable(file, {"edgetpu": {"compiled": True, **_reported(report)}})


_REPORTS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "compiler": (r"Edge TPU Compiler version (\S+)", str),
    "operations_on_edge_tpu": (r"will run on Edge TPU: (\d+)", int),
    "operations_on_cpu": (r"will run on CPU: (\d+)", int),
}


def _reported(report: str) -> dict[str, Any]:
    matches = {name: (re.search(pattern, report), kind) for name, (pattern, kind) in _REPORTS.items()}
    return {name: kind(match[1]) for name, (match, kind) in matches.items() if match}


TARGETS = (
    Target(
        "edgetpu",
        "Coral's Edge TPU: a file that keeps the published rules, compiled where edgetpu_compiler is on PATH",
        unsupported_recipes=dict.fromkeys(
            (name for name in RECIPES if name != "static_wi8_ai8"), "it computes in 8-bit integers alone"
        ),
        limits=(
            NO_FLOATS,
            Limit(AllBut(SUPPORTED), "Coral does not list {}"),
            Limit({DILATIONS, DIMENSIONS, SOFTMAXES, VECTORS}, "Coral's rules allow no {}"),
        ),
        io=("int8", "uint8"),
        one_image=True,  # of a tensor, the compiler maps the three innermost dimensions alone
        package=package,
    ),
)
