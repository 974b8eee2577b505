"""A .tflite file that is unpacked once, however much is asked of it.

In: the bytes of a file. Out: its shapes, types, operations and names, and the same network up to its logits.
"""

import copy
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from keras_se.errors import InputError
from keras_se.export.sandbox import runner
from keras_se.export.tflite import flatbuffer
from keras_se.export.tflite.flatbuffer import CASTS, builtin_code, schema

_sound: set[int] = set()  # hashes of the files that passed the verifier


@dataclass(frozen=True)
class TFLiteModel:
    """A .tflite file: its bytes, and what they say.

    The file is unpacked when the first question about its graph comes, and kept so. Two of the same bytes are equal.

    Example:
        >>> file = TFLiteModel.load("files/se_mobilenet.static_wi8_ai8.tflite")
        >>> file.input_shape, file.output_shape
        ((1, 32, 32, 3), (1, 10))
    """

    content: bytes = field(repr=False)

    @classmethod
    def load(cls, path: Path | str) -> "TFLiteModel":
        """Read a file from elsewhere, after a child process has verified that it is sound.

        Raises:
            InputError: there is no such file, or it is not a .tflite file or not a whole one.
        """
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise InputError(f"cannot read {path} ({error.strerror})") from None
        if content[4:8] != flatbuffer.IDENTIFIER:
            raise InputError(f"{path} is not a .tflite file; export one with keras-se export")
        if hash(content) not in _sound:
            verdict = runner.call(
                "keras_se.export.tflite.verifier:find_problem", by="LiteRT", file=path, content=content
            )
            if verdict["problem"]:
                raise InputError(
                    f"{path} is damaged or cut short, or newer than LiteRT here ({verdict['problem']}); export it again"
                )
            _sound.add(hash(content))
        return cls(content)

    @classmethod
    def packed(cls, model: Any) -> "TFLiteModel":
        """Make a file of the schema's object, as `editable` returns it."""
        return cls(flatbuffer.pack(model))

    @cached_property
    def unpacked(self) -> Any:
        """Object of the schema (`ModelT`), shared by all who read it; to change one, take `editable`."""
        return flatbuffer.unpack(self.content)

    def editable(self) -> Any:
        """Return a copy of the schema's object to be changed; the values of the constants are shared."""
        values = [buffer.data for buffer in self.unpacked.buffers if buffer.data is not None]
        return copy.deepcopy(self.unpacked, {id(data): data for data in values})

    @property
    def graph(self) -> Any:
        """First subgraph, unpacked; further ones are those of loops."""
        return self.unpacked.subgraphs[0]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the first input, batch first."""
        return tuple(int(side) for side in self.graph.tensors[self.graph.inputs[0]].shape)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the first output, batch first."""
        return tuple(int(side) for side in self.graph.tensors[self.graph.outputs[0]].shape)

    @property
    def input_name(self) -> str:
        """Name of the tensor that is the first input."""
        return self.graph.tensors[self.graph.inputs[0]].name.decode()

    @property
    def io_counts(self) -> tuple[int, int]:
        """Number of inputs and number of outputs."""
        return len(self.graph.inputs), len(self.graph.outputs)

    @property
    def io_types(self) -> tuple[list[str], list[str]]:
        """Type of each input and of each output, by its name in the schema."""
        names, tensors = flatbuffer.tensor_types(), self.graph.tensors
        inputs, outputs = ([names[tensors[index].type] for index in side] for side in self._io)
        return inputs, outputs

    @property
    def io_quantizations(self) -> tuple[list[tuple[float, int]], list[tuple[float, int]]]:
        """Scale and zero point of each input and of each output; a scale of 0 for float."""

        def quantization_of(index: int) -> tuple[float, int]:
            known = self.graph.tensors[index].quantization
            if known is None or known.scale is None or len(known.scale) == 0:
                return 0.0, 0
            return float(known.scale[0]), int(known.zeroPoint[0])

        inputs, outputs = ([quantization_of(index) for index in side] for side in self._io)
        return inputs, outputs

    @property
    def _io(self) -> tuple[Any, Any]:
        return self.graph.inputs, self.graph.outputs

    @cached_property
    def activations(self) -> frozenset[int]:
        """Indices of the graph's tensors that depend on its input."""
        indices = set(map(int, self.graph.inputs))
        for op in self.graph.operators:
            if indices.intersection(map(int, op.inputs)):
                indices.update(map(int, op.outputs))
        return frozenset(indices)

    @property
    def activation_names(self) -> list[str]:
        """Names of the float tensors that depend on the input, and of that input, where it is float."""
        tensors = [self.graph.tensors[index] for index in sorted(self.activations)]
        return [tensor.name.decode() for tensor in tensors if tensor.type == schema.TensorType.FLOAT32]

    @cached_property
    def operation_names(self) -> list[str]:
        """Names of the operations in the schema, in the order in which they run; those of loops stand behind."""
        names = flatbuffer.builtin_names()
        return [names[builtin_code(code)] for code in self._used_codes]

    @property
    def output_operation(self) -> str | None:
        """Name of the operation that computes the first output; None where the output is an input.

        Casts and changes of shape are passed over, and loops not entered.
        """
        writers = {int(index): number for number, op in enumerate(self.graph.operators) for index in op.outputs}
        index = int(self.graph.outputs[0])
        while index in writers:
            name = self.operation_names[writers[index]]
            if name not in CASTS and name != "RESHAPE":
                return name
            index = int(self.graph.operators[writers[index]].inputs[0])
        return None

    @property
    def operation_counts(self) -> dict[str, int]:
        """Number of each operation, by its name in the schema."""
        return dict(sorted(Counter(self.operation_names).items()))

    @property
    def custom_operations(self) -> list[str]:
        """Names of the operations that are in no schema."""
        custom = [code for code in self._used_codes if builtin_code(code) == schema.BuiltinOperator.CUSTOM]
        return sorted({(code.customCode or b"unnamed").decode(errors="replace") for code in custom})

    @property
    def float_operations(self) -> list[str]:
        """Names of the operations that take or give a float32 tensor, each once."""
        floating = [
            any(graph.tensors[end].type == schema.TensorType.FLOAT32 for end in (*op.inputs, *op.outputs) if end >= 0)
            for graph in self.unpacked.subgraphs
            for op in graph.operators
        ]
        return sorted({name for name, floats in zip(self.operation_names, floating, strict=True) if floats})

    @property
    def _used_codes(self) -> list[Any]:
        codes = self.unpacked.operatorCodes
        return [codes[op.opcodeIndex] for graph in self.unpacked.subgraphs for op in graph.operators]

    def written_by(self, operation: str) -> set[str]:
        """Return the names of the tensors that operations of that name in the schema give."""
        operators = zip(self.graph.operators, self.operation_names, strict=False)
        indices = [index for op, name in operators if name == operation for index in op.outputs]
        return {self.graph.tensors[index].name.decode() for index in indices}

    @property
    def dtype_counts(self) -> dict[str, int]:
        """Number of tensors of each type, by its name in the schema."""
        names = flatbuffer.tensor_types()
        tensors = (tensor for graph in self.unpacked.subgraphs for tensor in graph.tensors)
        return dict(sorted(Counter(names[tensor.type] for tensor in tensors).items()))

    def described(self, path: Path | str) -> str:
        """Return the path and, where there are any, the operations that only some runtime knows: for messages."""
        custom = self.custom_operations
        return f"{path} with its own operations {', '.join(custom)}" if custom else str(path)

    @cached_property
    def inlined(self) -> "TFLiteModel":
        """Copy of the file with every constant inside the flatbuffer.

        Above some 256 KiB the quantizer writes them behind it. LiteRT and Vela read that; TFLite Micro does not, and
        computes on empty weights without a word.
        """
        model = self.editable()
        for buffer in model.buffers:
            if buffer.offset > 1:  # 0 and 1 are "none" and a placeholder
                buffer.data = np.frombuffer(self.content, np.uint8, buffer.size, buffer.offset)
                buffer.offset = buffer.size = 0
        return TFLiteModel.packed(model)

    @cached_property
    def without_softmax(self) -> "TFLiteModel":
        """File of the network up to its logits: a softmax that yields the only output is cut off.

        So are the changes of type behind it, which a file has whose output is of another type than its inside.
        """
        model = self.editable()
        graph = model.subgraphs[0]
        if len(graph.outputs) != 1:
            return self
        writers = {int(index): number for number, op in enumerate(graph.operators) for index in op.outputs}
        index, cut = int(graph.outputs[0]), []
        while not cut or self.operation_names[cut[-1]] in CASTS:
            if index not in writers:
                return self
            cut.append(writers[index])
            index = int(graph.operators[cut[-1]].inputs[0])
        if self.operation_names[cut[-1]] != "SOFTMAX":
            return self
        graph.operators = [op for number, op in enumerate(graph.operators) if number not in cut]
        graph.outputs = np.array([index], np.int32)
        for signature in model.signatureDefs or ():
            signature.outputs[0].tensorIndex = index
        return TFLiteModel.packed(model)
