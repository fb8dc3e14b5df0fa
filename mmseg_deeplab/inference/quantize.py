"""Post-training quantisation of an ONNX file to 8 bit by ONNX Runtime."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from .runners import need


def quantize(path: Path, out: Path, samples: Iterable[np.ndarray]) -> None:
    """Write an ONNX file whose convolutions compute in 8 bit.

    Weights have one scale for each output channel and 7 bits: on processors with AVX2 but not VNNI two products of full
    8 bits overflow 16. Activations have the range of the samples. The first convolution, the classifiers and the pooled
    branch stay in float32.

    Args:
        path: In float32.
        out: To write.
        samples: What the file takes, some dozens.

    Raises:
        UserError: If there are no samples.
        UserImportError: If onnx or onnxruntime is not installed.
    """
    onnx: Any = need('onnx')
    quantization: Any = need('onnxruntime.quantization')
    shapes: Any = need('onnxruntime.quantization.shape_inference')
    arrays = iter(samples)
    first = next(arrays, None)
    if first is None:
        raise UserError('int8 needs pictures to measure ranges on, and there are none')
    model = onnx.load(str(path))
    name = model.graph.input[0].name

    class Reader(quantization.CalibrationDataReader):
        waiting: Any = first

        def get_next(self) -> dict[str, np.ndarray] | None:
            array, self.waiting = self.waiting, next(arrays, None)
            return None if array is None else {name: array}

    prepared = out.with_suffix('.prepared.onnx')
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)  # it advises what is done here, on the root logger
    try:
        shapes.quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared),
            str(out),
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            op_types_to_quantize=['Conv', 'Add', 'Clip', 'Relu', 'Concat', 'MaxPool'],
            nodes_to_exclude=in_float(onnx.load(str(prepared)).graph),
        )
    finally:
        logging.getLogger().setLevel(level)
        prepared.unlink(missing_ok=True)


def in_float(graph: Any) -> list[str]:
    """Names of the nodes of an ONNX graph, in its order of computation, that stay in float32.

    They are the first convolutions and what is before them, the classifiers and what is behind them, and what happens
    to globally pooled maps until they are spread out again.
    """
    convolved, pooled = set(), set()  # names of arrays
    kept = set()
    for node in graph.node:
        inputs = set(node.input)
        if not inputs & convolved:
            kept.add(node.name)
        if inputs & convolved or node.op_type == 'Conv':
            convolved.update(node.output)
        if node.op_type == 'GlobalAveragePool' or (inputs & pooled and node.op_type not in ('Expand', 'Resize')):
            kept.add(node.name)
            pooled.update(node.output)
    to_convolve = set()
    for node in reversed(graph.node):
        wanted = set(node.output) & to_convolve
        if not wanted:
            kept.add(node.name)
        if wanted or node.op_type == 'Conv':
            to_convolve.update(node.input)
    return sorted(kept)
