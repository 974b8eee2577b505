"""Files for TFLite Micro as C++ takes them: the model as an array, the arena's size, and a program that runs it."""

import re
import subprocess
import tempfile
from bisect import bisect_left
from functools import cache
from itertools import count
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from keras_se.errors import InputError
from keras_se.export.runtimes.tflite_micro import MOST_ARENA, ample_arena
from keras_se.export.sandbox.command import failure, run_python
from keras_se.export.targets.base import FLOAT_RECIPES, NO_FLOATS, Deliverable, Limit, QuantizedModel, Target, is_int16
from keras_se.export.tflite import flatbuffer
from keras_se.optional_packages import import_extra

_BLOCK = 256  # bytes: finer would take twice the trials
_RECORDED = re.compile(r"Arena allocation total (\d+) bytes")
_TRIAL = Path(__file__).with_name("tflite_micro_trial.py")
_NAMED_OTHERWISE = {"CUMSUM": "CumSum", "PADV2": "PadV2"}
_C_TYPES = {"INT8": ("int8_t", "int8"), "INT16": ("int16_t", "i16")}
"""A tensor's type in C++, and its member of TFLite Micro's union of pointers."""


def package(content: QuantizedModel, target: Target) -> Deliverable:
    """The file with its arena's size, as a C++ array and in a program that runs it once.

    Raises:
        InputError: an operation computes in float, or TFLite Micro is not installed or does not run the file.
    """
    floating = flatbuffer.float_operations(content.content)
    if floating:
        raise InputError(f"{target.name} takes integers alone; replace what computes in float: {', '.join(floating)}")
    arena = arena_bytes(content.content)
    stem = f"{content.name}.{content.recipe.name}"
    sources = {
        ".h": _header(stem, content.content, arena),
        ".cc": _array(stem, content.content),
        ".example.cc": _example(stem, content),
    }
    # Pointers are part of what an arena holds; the optimised kernels of some processors ask for more.
    manifest = {"arena_bytes": arena, "pointer_bits": 64, "kernels": "reference"}
    return Deliverable(
        content.content,
        {"tflite_micro": manifest},
        {suffix: source.encode() for suffix, source in sources.items()},
    )


def check_tool(target: Target) -> None:
    """Whether TFLite Micro is there.

    Raises:
        InputError: it is not installed.
    """
    import_extra("tflite_micro", "edge")


def arena_bytes(content: bytes) -> int:
    """The least arena in which TFLite Micro runs a file, to the next multiple of 256 bytes.

    What it records after an inference can fall short: planning takes memory too, and gives it back.

    Raises:
        InputError: TFLite Micro is not installed, or does not run the file.
    """
    import_extra("tflite_micro", "edge")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "network.tflite")
        file.write_bytes(content)
        ample = ample_arena(content)
        run = _trial(file, ample)
        recorded = _RECORDED.search(run.stderr)
        if run.returncode != 0 or recorded is None:
            raise InputError(
                f"TFLite Micro must run the file; in an arena of {ample} bytes it fails: {failure(run, 0)}; "
                "replace the operation, or export a trained network if this one is not"
            )
        first = -(-int(recorded[1]) // _BLOCK)

        @cache
        def runs(blocks: int) -> bool:
            return _trial(file, (first + blocks) * _BLOCK).returncode == 0

        enough = next(2**power - 1 for power in count() if runs(2**power - 1))
        least = bisect_left(range(enough + 1), True, lo=enough // 2, key=runs)
    return (first + least) * _BLOCK


def _trial(file: Path, size: int) -> subprocess.CompletedProcess[str]:
    """One inference in an arena of that many bytes."""
    return run_python(["-P", _TRIAL, file, size])


def registration(operation: str) -> str:
    """The method of `MicroMutableOpResolver` that registers an operation, by its name in the schema."""
    return f"Add{_NAMED_OTHERWISE.get(operation, operation.title().replace('_', ''))}"


def _identifier(stem: str) -> str:
    """The stem as C++ can name it."""
    return f"model_{re.sub(r'[^0-9A-Za-z]+', '_', stem)}"


def _header(stem: str, content: bytes, arena: int) -> str:
    return _HEADER.substitute(stem=stem, id=_identifier(stem), size=len(content), arena=arena)


def _array(stem: str, content: bytes) -> str:
    lines = (",".join(map(str, content[start : start + 32])) for start in range(0, len(content), 32))
    return _ARRAY.substitute(stem=stem, id=_identifier(stem), bytes=",\n".join(lines))


def _example(stem: str, content: QuantizedModel) -> str:
    graph = flatbuffer.unpack(content.content).subgraphs[0]
    taken, given = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    (kind, member), (given_kind, given_member) = _c_type(taken), _c_type(given)
    used = flatbuffer.operations(content.content)
    return _EXAMPLE.substitute(
        stem=stem,
        id=_identifier(stem),
        count=len(used),
        registered=" ||\n      ".join(f"operations.{registration(name)}() != kTfLiteOk" for name in used),
        shape=" x ".join(str(side) for side in taken.shape[1:]),
        channels=taken.shape[-1],
        inputs=np.prod(taken.shape),
        outputs=np.prod(given.shape),
        kind=kind,
        member=member,
        given_kind=given_kind,
        given_member=given_member,
        scale=float(taken.quantization.scale[0]),
        zero=int(taken.quantization.zeroPoint[0]),
        mean=", ".join(f"{value}f" for value in content.preprocessing.mean),
        deviation=", ".join(f"{value}f" for value in content.preprocessing.std),
    )


def _c_type(tensor: Any) -> tuple[str, str]:
    return _C_TYPES[flatbuffer.tensor_types()[tensor.type]]


_HEADER = Template("""\
// $stem.tflite for TFLite Micro.
#pragma once

#include <cstddef>

extern const unsigned char $id[];
constexpr std::size_t ${id}_size = $size;
// Of TFLite Micro's reference kernels with pointers of 64 bits; optimised kernels may ask for more.
constexpr std::size_t ${id}_arena_bytes = $arena;
""")

_ARRAY = Template("""\
#include "$stem.h"

alignas(16) const unsigned char $id[${id}_size] = {
$bytes
};
""")

_EXAMPLE = Template("""\
// Runs $stem.tflite once on an image of $shape bytes from standard input, and prints the class.
#include "$stem.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>

#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace tflite {
namespace micro {}  // where releases since 2026 have what others have in tflite
}  // namespace tflite

using namespace tflite;
using namespace tflite::micro;

namespace {

alignas(16) unsigned char arena[${id}_arena_bytes];

$kind quantized(unsigned char pixel, int channel) {
  const float mean[] = {$mean};
  const float deviation[] = {$deviation};
  const float value = (pixel / 255.0f - mean[channel]) / deviation[channel];
  const float step = std::round(value / ${scale}f) + $zero;
  const float least = std::numeric_limits<$kind>::min(), most = std::numeric_limits<$kind>::max();
  return static_cast<$kind>(std::min(std::max(step, least), most));
}

}  // namespace

int main() {
  MicroMutableOpResolver<$count> operations;
  if ($registered) {
    return 1;
  }
  MicroInterpreter interpreter(GetModel($id), operations, arena, sizeof(arena));
  if (interpreter.AllocateTensors() != kTfLiteOk) {
    return 1;
  }
  $kind* input = interpreter.input(0)->data.$member;
  for (int i = 0; i < $inputs; ++i) {
    input[i] = quantized(static_cast<unsigned char>(std::getchar()), i % $channels);
  }
  if (interpreter.Invoke() != kTfLiteOk) {
    return 1;
  }
  const $given_kind* scores = interpreter.output(0)->data.$given_member;
  std::printf("%d\\n", static_cast<int>(std::max_element(scores, scores + $outputs) - scores));
  return 0;
}
""")


_HYBRID = "it has no kernels for int8 weights with float activations"

TARGETS = (
    Target(
        "tflite_micro",
        "TFLite Micro on a microcontroller",
        higher_precision="ai16",
        unsupported_recipes={
            **dict.fromkeys(FLOAT_RECIPES, "it is to run where there are no fast floats"),
            "float16": "it has no kernel that reads float16 weights",
            "dynamic_wi8_afp32": _HYBRID,
            "weight_only_wi8_afp32": _HYBRID,
        },
        limits=(
            NO_FLOATS,
            Limit({"GELU"}, "TFLite Micro has no kernel of {}"),
            Limit(
                {"HARD_SWISH", "RESIZE_BILINEAR", "SQUARED_DIFFERENCE"},
                "TFLite Micro has no int16 kernel of {}",
                is_int16,
            ),
        ),
        arena=MOST_ARENA,
        package=package,
        check_tool=check_tool,
    ),
)
