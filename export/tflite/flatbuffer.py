"""Binary form of a .tflite file: bytes to the schema's objects and back, and the schema's names.

In: the bytes of a file, or a `ModelT`. Out: the other of the two. `keras_se.export.tflite.model.TFLiteModel` keeps what
was unpacked; `keras_se.export.tflite.graph_edits` changes it.
"""

from typing import Any

import flatbuffers

from keras_se.optional_packages import import_extra

schema: Any = import_extra("ai_edge_litert.schema_py_generated", "edge")

WEIGHTED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
"""Operations whose second input is a kernel and whose third a bias."""

CASTS = frozenset({"QUANTIZE", "DEQUANTIZE"})
"""Operations that change a tensor's type alone."""

IDENTIFIER = b"TFL3"
"""Four bytes of every file, from the fourth on."""

_LAST_OLD_CODE = 127  # stands for those beyond it
_ALIGNMENT = 16  # of a buffer's bytes, as the schema's force_align asks


def unpack(content: bytes) -> Any:
    """Return the file as the schema's object (`ModelT`), to be read or edited."""
    return schema.ModelT.InitFromPackedBuf(bytearray(content), 0)


def pack(model: Any) -> bytes:
    """Return the schema's object (`ModelT`) as the bytes of a file."""
    for code in model.operatorCodes:
        # The quantizer fills the newer of two fields alone. OpenVINO reads the older one, as an ADD.
        code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)
        code.deprecatedBuiltinCode = min(code.builtinCode, _LAST_OLD_CODE)
    builder = _AlignedBuilder(1024)
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


class _AlignedBuilder(flatbuffers.Builder):
    """Python's flatbuffers know nothing of force_align: here the bytes of a buffer start at a multiple of 16."""

    def StartVector(self, elemSize, numElems, alignment):  # noqa: N802, N803
        return super().StartVector(elemSize, numElems, _ALIGNMENT if elemSize == 1 else alignment)


def builtin_code(code: Any) -> int:
    """Return an operation's number in the schema; files from before there were 127 have it in the old field."""
    return max(code.builtinCode, code.deprecatedBuiltinCode)


def builtin_names() -> dict[int, str]:
    """Return the schema's names of the operations, by number."""
    return _names(schema.BuiltinOperator)


def tensor_types() -> dict[int, str]:
    """Return the schema's names of the tensors' types, by number."""
    return _names(schema.TensorType)


def _names(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if not name.startswith("_")}
