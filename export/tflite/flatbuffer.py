"""A .tflite file as an object: what is in it, and the edits that no converter offers."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np

from keras_se.errors import InputError
from keras_se.export.sandbox import runner
from keras_se.optional_packages import import_extra

schema: Any = import_extra("ai_edge_litert.schema_py_generated", "edge")

WEIGHTED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
"""Operations whose second input is a kernel and whose third a bias."""

CASTS = frozenset({"QUANTIZE", "DEQUANTIZE"})
"""Operations that change a tensor's type alone."""

_IDENTIFIER = b"TFL3"
_LAST_OLD_CODE = 127  # stands for those beyond it
_whole: set[int] = set()  # hashes of the files that were found so
_ALIGNMENT = 16  # of a buffer's bytes, as the schema's force_align asks


def load(path: Path | str) -> bytes:
    """The content of a .tflite file, after it was found whole in a child process.

    Raises:
        InputError: there is no such file, or it is not a .tflite file or not a whole one.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror})") from None
    if content[4:8] != _IDENTIFIER:
        raise InputError(f"{path} is not a .tflite file; export one with keras-se export")
    if hash(content) not in _whole:
        found = runner.call("keras_se.export.tflite.verifier:find_problem", by="LiteRT", file=path, content=content)
        if found["problem"]:
            raise InputError(
                f"{path} is damaged or cut short, or newer than LiteRT here ({found['problem']}); export it again"
            )
        _whole.add(hash(content))
    return content


def unpack(content: bytes) -> Any:
    """The file as the schema's object (`ModelT`)."""
    return schema.ModelT.InitFromPackedBuf(bytearray(content), 0)


def pack(model: Any) -> bytes:
    """The object as a file."""
    for code in model.operatorCodes:
        # The quantizer fills the newer of two fields alone. OpenVINO reads the older one, as an ADD.
        code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)
        code.deprecatedBuiltinCode = min(code.builtinCode, _LAST_OLD_CODE)
    builder = _AlignedBuilder(1024)
    builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


def inlined(content: bytes) -> bytes:
    """The same file with every constant inside the flatbuffer.

    Above some 256 KiB the quantizer writes them behind it. LiteRT and Vela read that; TFLite Micro does not, and
    computes on empty weights without a word.
    """
    model = unpack(content)
    for buffer in model.buffers:
        if buffer.offset > 1:  # 0 and 1 are "none" and a placeholder
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return pack(model)


def without_softmax(content: bytes) -> bytes:
    """The same network up to its logits: a softmax that yields the file's only output is cut off.

    So are the changes of type behind it, which a file has whose output is of another type than its inside.
    """
    model = unpack(content)
    graph = model.subgraphs[0]
    if len(graph.outputs) != 1:
        return content
    writers = {int(index): op for op in graph.operators for index in op.outputs}
    names, index, cut = builtin_names(), int(graph.outputs[0]), []
    while not cut or names[builtin_code(model.operatorCodes[cut[-1].opcodeIndex])] in CASTS:
        if index not in writers:
            return content
        cut.append(writers[index])
        index = int(cut[-1].inputs[0])
    if builtin_code(model.operatorCodes[cut[-1].opcodeIndex]) != schema.BuiltinOperator.SOFTMAX:
        return content
    graph.operators = [op for op in graph.operators if not any(op is one for one in cut)]
    graph.outputs = np.array([index], np.int32)
    for signature in model.signatureDefs or ():
        signature.outputs[0].tensorIndex = index
    return pack(model)


def input_shape(content: bytes) -> tuple[int, ...]:
    """The shape of the file's first input, batch first."""
    graph = unpack(content).subgraphs[0]
    return tuple(int(side) for side in graph.tensors[graph.inputs[0]].shape)


def output_shape(content: bytes) -> tuple[int, ...]:
    """The shape of the file's first output, batch first."""
    graph = unpack(content).subgraphs[0]
    return tuple(int(side) for side in graph.tensors[graph.outputs[0]].shape)


def ends(content: bytes) -> tuple[int, int]:
    """How many inputs and how many outputs the file has."""
    graph = unpack(content).subgraphs[0]
    return len(graph.inputs), len(graph.outputs)


def input_and_output_types(content: bytes) -> tuple[list[str], list[str]]:
    """The type of each input and of each output, by its name in the schema."""
    graph, names = unpack(content).subgraphs[0], tensor_types()
    inputs, outputs = ([names[graph.tensors[index].type] for index in ends] for ends in (graph.inputs, graph.outputs))
    return inputs, outputs


def quantizations(content: bytes) -> tuple[list[tuple[float, int]], list[tuple[float, int]]]:
    """Scale and zero point of each input and of each output; a scale of 0 for float."""
    graph = unpack(content).subgraphs[0]

    def of(index: int) -> tuple[float, int]:
        known = graph.tensors[index].quantization
        if known is None or known.scale is None or len(known.scale) == 0:
            return 0.0, 0
        return float(known.scale[0]), int(known.zeroPoint[0])

    return [of(index) for index in graph.inputs], [of(index) for index in graph.outputs]


def input_name(content: bytes) -> str:
    """The name of the tensor that is the file's first input."""
    graph = unpack(content).subgraphs[0]
    return graph.tensors[graph.inputs[0]].name.decode()


def activations(graph: Any) -> set[int]:
    """The indices of a subgraph's tensors that depend on its input."""
    found = set(map(int, graph.inputs))
    for op in graph.operators:
        if found.intersection(map(int, op.inputs)):
            found.update(map(int, op.outputs))
    return found


def activation_names(content: bytes) -> list[str]:
    """The names of the float tensors that depend on the file's input, and of that input, where it is float."""
    graph = unpack(content).subgraphs[0]
    tensors = [graph.tensors[index] for index in sorted(activations(graph))]
    return [tensor.name.decode() for tensor in tensors if tensor.type == schema.TensorType.FLOAT32]


def written_by(content: bytes, operation: str) -> set[str]:
    """The names of the tensors that operations of that name in the schema give."""
    graph = unpack(content).subgraphs[0]
    found = zip(graph.operators, operation_names(content), strict=False)  # further graphs are those of loops
    return {graph.tensors[index].name.decode() for op, name in found if name == operation for index in op.outputs}


def operations(content: bytes) -> dict[str, int]:
    """How many of each operation the file has, by its name in the schema."""
    return dict(sorted(Counter(operation_names(content)).items()))


def operation_names(content: bytes) -> list[str]:
    """The operations' names in the schema, in the order in which they run."""
    names = builtin_names()
    return [names[builtin_code(code)] for code in _used_codes(content)]


def output_operation(content: bytes) -> str | None:
    """Return the name of the operation that computes the first output; casts are passed over, and loops not entered.

    None where the output is an input.
    """
    model = unpack(content)
    [graph, *_], names = model.subgraphs, builtin_names()
    writers = {int(index): op for op in graph.operators for index in op.outputs}
    index = int(graph.outputs[0])
    while index in writers:
        name = names[builtin_code(model.operatorCodes[writers[index].opcodeIndex])]
        if name not in CASTS:
            return name
        index = int(writers[index].inputs[0])
    return None


def described(file: Path | str, content: bytes) -> str:
    """The file's path and, where it has any, its operations that only some runtime knows: for messages."""
    custom = custom_operations(content)
    return f"{file} with its own operations {', '.join(custom)}" if custom else str(file)


def custom_operations(content: bytes) -> list[str]:
    """The names of the file's operations that are in no schema."""
    custom = [code for code in _used_codes(content) if builtin_code(code) == schema.BuiltinOperator.CUSTOM]
    return sorted({(code.customCode or b"unnamed").decode(errors="replace") for code in custom})


def _used_codes(content: bytes) -> list[Any]:
    model = unpack(content)
    return [model.operatorCodes[op.opcodeIndex] for graph in model.subgraphs for op in graph.operators]


def builtin_code(code: Any) -> int:
    """An operation's number in the schema; files from before there were 127 have it in the old field."""
    return max(code.builtinCode, code.deprecatedBuiltinCode)


def builtin_names() -> dict[int, str]:
    """The schema's names of the operations."""
    return _names(schema.BuiltinOperator)


def float_operations(content: bytes) -> list[str]:
    """The operations that take or give a float32 tensor, each name once."""
    floating = [
        any(graph.tensors[end].type == schema.TensorType.FLOAT32 for end in (*op.inputs, *op.outputs) if end >= 0)
        for graph in unpack(content).subgraphs
        for op in graph.operators
    ]
    return sorted({name for name, found in zip(operation_names(content), floating, strict=True) if found})


def dtypes(content: bytes) -> dict[str, int]:
    """How many tensors of each type the file has."""
    names = tensor_types()
    tensors = (tensor for graph in unpack(content).subgraphs for tensor in graph.tensors)
    return dict(sorted(Counter(names[tensor.type] for tensor in tensors).items()))


def tensor_types() -> dict[int, str]:
    """The schema's names of the tensors' types."""
    return _names(schema.TensorType)


def _names(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if not name.startswith("_")}


def add_constant(model: Any, name: str, values: np.ndarray) -> int:
    """Add a float32 tensor of these values to the model's graph and return its index."""
    [graph] = model.subgraphs
    buffer, tensor = schema.BufferT(), schema.TensorT()
    buffer.data = np.frombuffer(values.astype("float32").tobytes(), np.uint8)
    tensor.name, tensor.type, tensor.shape = name.encode(), schema.TensorType.FLOAT32, np.array(values.shape, np.int32)
    tensor.hasRank = True
    tensor.buffer = len(model.buffers)
    model.buffers.append(buffer)
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def new_operation(model: Any, builtin: int, taken: Sequence[int], given: int) -> Any:
    """Make an operation for the model's graph, which does not hold it yet, and see that its code is among the model's.

    Args:
        taken: indices of the tensors that it reads.
        given: index of the tensor that it writes.
    """
    op = schema.OperatorT()
    op.opcodeIndex = _place_of_code(model, builtin)
    op.inputs, op.outputs = np.array(taken, np.int32), np.array([given], np.int32)
    return op


def _place_of_code(model: Any, builtin: int) -> int:
    for number, code in enumerate(model.operatorCodes):
        if builtin_code(code) == builtin:
            return number
    new = schema.OperatorCodeT()
    new.builtinCode, new.version = builtin, 1  # `pack` fills the older field
    model.operatorCodes.append(new)
    return len(model.operatorCodes) - 1


def drop_untouched(model: Any) -> None:
    """Remove from an unpacked file the tensors that no operation reads or writes, and the values of the constants."""
    [graph] = model.subgraphs
    touched = {int(index) for op in graph.operators for index in (*op.inputs, *op.outputs)}
    kept = sorted((touched | {int(index) for index in (*graph.inputs, *graph.outputs)}) - {-1})
    places = {old: new for new, old in enumerate(kept)} | {-1: -1}  # -1 is an input that is left out

    def moved(indices: Any) -> np.ndarray:
        return np.array([places[int(index)] for index in indices], np.int32)

    graph.tensors = [graph.tensors[old] for old in kept]
    graph.inputs, graph.outputs = moved(graph.inputs), moved(graph.outputs)
    for op in graph.operators:
        op.inputs, op.outputs = moved(op.inputs), moved(op.outputs)
    for signature in model.signatureDefs or ():
        for end in (*signature.inputs, *signature.outputs):
            end.tensorIndex = places[end.tensorIndex]
    read = {tensor.buffer for tensor in graph.tensors} | {entry.buffer for entry in model.metadata or ()}
    for number, buffer in enumerate(model.buffers):
        if number not in read:
            buffer.data = None


class _AlignedBuilder(flatbuffers.Builder):
    """Python's flatbuffers know nothing of force_align: here the bytes of a buffer start at a multiple of 16."""

    def StartVector(self, elemSize, numElems, alignment):  # noqa: N802, N803
        return super().StartVector(elemSize, numElems, _ALIGNMENT if elemSize == 1 else alignment)
