"""C++ sources that run a file on TFLite Micro.

In: a file of integers, what is known of its network, and the size of its arena. Out: the model as an array, a header
that declares it, and a program that runs it once.
"""

import re
from string import Template
from typing import Any

import numpy as np

from keras_se.export.targets.base import QuantizedModel
from keras_se.export.tflite import flatbuffer

_NAMED_OTHERWISE = {"CUMSUM": "CumSum", "PADV2": "PadV2"}
_C_TYPES = {"INT8": ("int8_t", "int8"), "INT16": ("int16_t", "i16")}
"""A tensor's type in C++, and its member of TFLite Micro's union of pointers."""


def cpp_sources(quantized: QuantizedModel, arena: int) -> dict[str, str]:
    """Return the header, the array and the example as text, by what follows `NAME.RECIPE` in their names.

    Args:
        content: a file whose input and output are int8 or int16.
        arena: its working memory in bytes.
    """
    stem = f"{quantized.name}.{quantized.recipe.name}"
    return {
        ".h": _header(stem, quantized.file.content, arena),
        ".cc": _array(stem, quantized.file.content),
        ".example.cc": _example(stem, quantized),
    }


def registration(operation: str) -> str:
    """Return the method of `MicroMutableOpResolver` that registers an operation of the schema."""
    return f"Add{_NAMED_OTHERWISE.get(operation, operation.title().replace('_', ''))}"


def _identifier(stem: str) -> str:
    """Return the stem as a name that C++ takes."""
    return f"model_{re.sub(r'[^0-9A-Za-z]+', '_', stem)}"


def _header(stem: str, content: bytes, arena: int) -> str:
    return _HEADER.substitute(stem=stem, id=_identifier(stem), size=len(content), arena=arena)


def _array(stem: str, content: bytes) -> str:
    lines = (",".join(map(str, content[start : start + 32])) for start in range(0, len(content), 32))
    return _ARRAY.substitute(stem=stem, id=_identifier(stem), bytes=",\n".join(lines))


def _example(stem: str, quantized: QuantizedModel) -> str:
    graph = quantized.file.graph
    image, scores = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    (kind, member), (scores_kind, scores_member) = _c_type(image), _c_type(scores)
    operations = quantized.file.operation_counts
    return _EXAMPLE.substitute(
        stem=stem,
        id=_identifier(stem),
        count=len(operations),
        registered=" ||\n      ".join(f"operations.{registration(name)}() != kTfLiteOk" for name in operations),
        shape=" x ".join(str(side) for side in image.shape[1:]),
        channels=image.shape[-1],
        inputs=np.prod(image.shape),
        outputs=np.prod(scores.shape),
        kind=kind,
        member=member,
        scores_kind=scores_kind,
        scores_member=scores_member,
        scale=float(image.quantization.scale[0]),
        zero=int(image.quantization.zeroPoint[0]),
        mean=", ".join(f"{value}f" for value in quantized.preprocessing.mean),
        deviation=", ".join(f"{value}f" for value in quantized.preprocessing.std),
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
  const $scores_kind* scores = interpreter.output(0)->data.$scores_member;
  std::printf("%d\\n", static_cast<int>(std::max_element(scores, scores + $outputs) - scores));
  return 0;
}
""")
