"""Exported files, loaded and run: each runner maps one array to a list of arrays."""

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import UserImportError

Run = Callable[[np.ndarray], list[np.ndarray]]


def need(name: str) -> Any:
    """Import a package of the extra `export`.

    Raises:
        UserImportError: If it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserImportError(f"this needs the package {name}: pip install 'mmseg_deeplab[export]'") from error


def onnxruntime_of(path: Path) -> tuple[str, Run]:
    """ONNX Runtime on the CPU, with as many threads as torch has now; runs of several threads don't interfere."""
    runtime = need('onnxruntime')
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # it warns of initializers that its own optimiser leaves over
    session = runtime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
    name = session.get_inputs()[0].name
    return f'onnxruntime {runtime.__version__}', lambda array: session.run(None, {name: array})


def openvino_of(path: Path) -> tuple[str, Run]:
    """OpenVINO on the CPU in float32, which it would leave on processors with bfloat16 units; one thread at a time."""
    openvino: Any = need('openvino')
    settings = {'INFERENCE_PRECISION_HINT': 'f32', 'INFERENCE_NUM_THREADS': torch.get_num_threads()}
    model = openvino.Core().compile_model(str(path), 'CPU', settings)
    return f'openvino {openvino.__version__.split("-")[0]}', lambda array: list(model(array).values())


def program_of(path: Path) -> tuple[str, Run]:
    """What `torch.export.save` wrote."""
    return _torch(torch.export.load(path).module())


def torchscript_of(path: Path) -> tuple[str, Run]:
    """What `torch.jit.save` wrote."""
    return _torch(torch.jit.load(str(path)))


def _torch(graph: Callable) -> tuple[str, Run]:
    @torch.no_grad()
    def run(array: np.ndarray) -> list[np.ndarray]:
        out = graph(torch.from_numpy(array))
        return [each.numpy() for each in (out if isinstance(out, tuple) else (out,))]

    return f'torch {torch.__version__}', run


def runners_of(path: Path) -> list[tuple[str, Run]]:
    """Name and runner of every runtime that is installed and takes a file, by its suffix."""
    loaders = {'.pt2': [program_of], '.ts': [torchscript_of], '.onnx': [onnxruntime_of]}[path.suffix]
    if path.suffix == '.onnx' and importlib.util.find_spec('openvino') is not None:
        loaders = [*loaders, openvino_of]
    return [load(path) for load in loaders]
