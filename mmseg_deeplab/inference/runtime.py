"""A model whose network another runtime computes."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from ..models import DeepLab
from .export import example_of, generated, prove, samples_of, write_onnx
from .graphs import CoarseNetwork
from .runners import onnxruntime_of


class OnnxNetwork:
    """The network of a `DeepLab` in ONNX Runtime: padded, normalised images (N, 3, H, W) to its logits (N, C, h, w).

    It is compared with the model on some pictures when it is made, which takes a second or two.

    Raises:
        ExportError: If it answers differently.
    """

    def __init__(self, model: DeepLab):
        graph = CoarseNetwork(model)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / 'network.onnx'
            write_onnx(graph, example_of(graph), path)
            name, self.run = onnxruntime_of(path)
        prove(graph, self.run, samples_of(graph, generated(model)), name)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Logits of images that are padded to the grid, as `DeepLab` computes them."""
        return torch.from_numpy(np.asarray(self.run(inputs.numpy())[0]))


def move_to_onnxruntime(model: Any) -> None:
    """Let ONNX Runtime compute the network of a model that nobody else has yet; all around it stays as it is.

    Raises:
        UserError: For another segmentor than a `DeepLab`, and one that is not on the CPU or computes in another
            precision than float32.
        UserImportError: If onnx or onnxruntime is not installed.
    """
    if not isinstance(model, DeepLab):
        raise UserError(f"runtime='onnxruntime' is for a DeepLab, not a {type(model).__name__}")
    if next(model.parameters()).device.type != 'cpu':
        raise UserError("runtime='onnxruntime' computes on the CPU: set device='cpu', or leave runtime out")
    if model.inference_dtype is not None:
        raise UserError("runtime='onnxruntime' computes in float32: leave precision out")
    model.network = OnnxNetwork(model)
