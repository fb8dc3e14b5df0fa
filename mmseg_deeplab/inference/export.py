"""A segmentor as a file that runs without this package: ONNX, an exported program or TorchScript, each checked.

What is written takes images of any number and size. It is compared with the segmentor before it gets its name.
"""

import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ..checkpoints.save import atomic_write
from ..errors import UserError
from ..models import DeepLab
from .graphs import CoarseNetwork, Network, Pictures
from .pipelines import bands_of
from .quantize import quantize
from .runners import Run, need, onnxruntime_of, runners_of

Format = Literal['onnx', 'program', 'torchscript']
SUFFIXES: dict[str, str] = {'onnx': '.onnx', 'program': '.pt2', 'torchscript': '.ts'}
SIZES = ((131, 90), (97, 129), (65, 65))
"""Heights and widths of the generated pictures that a file is checked on."""
TIE = 2e-5
"""Distance of the logits of two classes, as a share of the largest logit, within which rounding decides."""
CLOSE = 0.05
"""Largest difference of the values, as a share of the largest value; rounding stays far below."""
LEAST_OF_INT8 = 0.95
"""Share of the labels that an int8 file must have in common with the segmentor; good ones have 0.98 and more."""


@dataclass(frozen=True)
class Check:
    """How a file's answers compare with the segmentor's on the same images.

    Attributes:
        runtime: What ran the file.
        images: How many were compared.
        pixels: Of all of them.
        different: Pixels that got another label.
        ties: Pixels that got another label, and whose two classes are equal up to rounding; not in `different`.
        difference: Largest absolute difference of the logits, or of the confidence of a file that takes pictures.
        classes: How many the segmentor saw in the images; one proves little.
    """

    runtime: str
    images: int
    pixels: int
    different: int
    ties: int
    difference: float
    classes: int

    @property
    def equal(self) -> float:
        """Share of the pixels with the same label, 0 to 1."""
        return 1 - self.different / self.pixels

    def __str__(self) -> str:
        ties = f', {self.ties} are ties of two classes' if self.ties else ''
        return (
            f'{self.runtime}: {100 * self.equal:.3f} % of the labels equal ({self.different} of {self.pixels} pixels '
            f'of {self.images} images with {self.classes} classes differ{ties}), largest difference '
            f'{self.difference:.2g}'
        )


class ExportError(UserError):
    """A file was made and answers differently; it was not kept."""


def export_model(
    model: nn.Module,
    path: str | Path,
    format: Format = 'onnx',
    uint8: bool = False,
    images: Iterable[np.ndarray] | None = None,
    int8: Iterable[np.ndarray] | None = None,
) -> list[Check]:
    """Write a segmentor to a file for other runtimes and prove that it answers alike.

    Args:
        model: From `init_model`, on the CPU; a `DeepLab`.
        path: The file, .onnx, .pt2 or .ts.
        format: 'onnx' for ONNX Runtime, OpenVINO, TensorRT and others; 'program' for `torch.export.load`,
            'torchscript' for `torch.jit.load`.
        uint8: Whether the file takes pictures (N, H, W, 3) in uint8 RGB and gives labels (N, H, W) in uint8 and their
            confidence (N, H, W) in float32; else normalised images (N, 3, H, W) to logits (N, C, H, W) in float32.
        images: Pictures (H, W, 3), uint8 RGB, to compare on, or of the bands that the network takes; without, generated
            ones of several sizes.
        int8: Pictures like those that will come, some dozens: the convolutions of an ONNX file compute in 8 bit, with
            ranges measured on these.

    Returns:
        What the comparison found, for each runtime that is installed.

    Raises:
        UserError: For another segmentor, suffix, or with `uint8` more than 256 classes, several labels a pixel or
            other bands than 8-bit RGB; for `images` of other bands than the network's.
        UserOSError: If the file can not be written.
        UserImportError: If a package that the format needs is not installed.
        ExportError: If a label differs, but for ties of two classes, or a value by 5 % of the largest; with `int8`, if
            more than 5 % of the labels differ.
    """
    path = Path(path)
    _check(model, path, format, uint8, int8 is not None)
    network: Any = model
    graph = Pictures(network) if uint8 else Network(network)
    pictures = generated(network) if images is None else list(images)
    if not pictures:
        raise UserError('there are no pictures to compare on')
    for picture in pictures:
        if picture.shape[2] != network.backbone.in_channels:
            raise UserError(
                f'a picture to compare on has {picture.shape[2]} bands, but the network takes '
                f'{network.backbone.in_channels}: give those, in its order'
            )
    with atomic_write(path) as file, tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / f'network{path.suffix}'
        WRITERS[format](graph, example_of(graph), written)
        checks = [prove(graph, run, samples_of(graph, pictures), name) for name, run in runners_of(written)]
        if int8 is not None:
            quantized = written.with_name(f'int8{path.suffix}')
            quantize(written, quantized, (_sample(graph, picture).numpy() for picture in int8))
            name, run = onnxruntime_of(quantized)
            checks = [prove(graph, run, samples_of(graph, pictures), name, LEAST_OF_INT8)]
            written = quantized
        file.write(written.read_bytes())
    return checks


def _check(model: nn.Module, path: Path, format: str, uint8: bool, int8: bool) -> None:
    if not isinstance(model, DeepLab):
        raise UserError(f'a {type(model).__name__} is not exported, only a DeepLab')
    if model.training or next(model.parameters()).device.type != 'cpu':
        raise UserError("the model must be in eval mode and on the CPU, as init_model(..., device='cpu') gives it")
    if format not in SUFFIXES:
        raise UserError(f'format={format!r}: choose one of {", ".join(SUFFIXES)}')
    if path.suffix != SUFFIXES[format]:
        raise UserError(f'{path}: a file of format {format!r} ends in {SUFFIXES[format]}')
    if int8 and format != 'onnx':
        raise UserError(f"int8 is for format 'onnx', not {format!r}")
    if uint8 and model.multi_label:
        raise UserError(
            'uint8 gives one label a pixel, and this model several (decode_head.multi_label=True): leave uint8 out; '
            'the sigmoid of the logits are the probabilities'
        )
    if uint8 and (model.backbone.in_channels != 3 or _is_scaled(model)):
        raise UserError(
            f'uint8 takes pictures in 8-bit RGB, but the network takes {model.backbone.in_channels} bands'
            f'{" of another range" * _is_scaled(model)}: leave uint8 out, and give the file what the data preprocessor '
            'makes of them'
        )
    if uint8 and model.num_classes > 256:
        raise UserError(f'uint8 labels hold 256 classes, and there are {model.num_classes}')


def _is_scaled(model: Any) -> bool:
    """Whether a model takes bands of files whose numbers are not those of 8 bits."""
    bands = bands_of(model) if hasattr(model, 'cfg') else None
    return bands is not None and bands.value_range not in (None, (0, 255))


def generated(model: DeepLab) -> list[np.ndarray]:
    """Pictures of several sizes: coloured patches with noise, in which networks see more than in noise alone.

    They are uint8 RGB, or bands that are spread about the mean of each as the preprocessor has it.
    """
    rng, bands = np.random.default_rng(0), model.backbone.in_channels
    preprocessor: Any = model.data_preprocessor
    pictures = []
    for height, width in SIZES:
        patches = rng.integers(0, 200, (-(-height // 16), -(-width // 16), bands), dtype=np.uint8)
        patches = patches.repeat(16, 0).repeat(16, 1)[:height, :width]
        picture = patches + rng.integers(0, 56, (height, width, bands), dtype=np.uint8)
        if bands != 3 and hasattr(preprocessor, 'mean'):
            mean, std = (getattr(preprocessor, name).flatten().numpy() for name in ('mean', 'std'))
            picture = ((picture - 127.5) / 64 * std + mean).astype(np.float32)
        pictures.append(picture)
    return pictures


def _sample(graph: CoarseNetwork, picture: np.ndarray) -> Tensor:
    """A picture as a graph takes it, in a batch of one."""
    pictures = torch.from_numpy(np.ascontiguousarray(picture))[None]
    return pictures if graph.takes_pictures else graph.prepare(Pictures(graph.model).normalise(pictures))


def samples_of(graph: CoarseNetwork, pictures: Sequence[np.ndarray]) -> Iterator[Tensor]:
    """The pictures one by one, after a batch of the first and its mirror image."""
    yield torch.cat([_sample(graph, picture) for picture in (pictures[0], pictures[0][:, ::-1])])
    yield from (_sample(graph, picture) for picture in pictures)


def example_of(graph: CoarseNetwork) -> Tensor:
    """What a graph is traced with."""
    # Of a size that is padded, as torch.export takes what holds for the example to hold for all.
    return _sample(graph, generated(graph.model)[0]).repeat(2, 1, 1, 1)


def prove(graph: CoarseNetwork, run: Run, samples: Iterable[Tensor], name: str, least: float = 1.0) -> Check:
    """Compare a file's answers with those of the graph that it was written of.

    Args:
        graph: In torch.
        run: The file, in the runtime `name`.
        samples: What both take.
        least: Share of the labels that must be equal; where all must, the values must be close, too.

    Raises:
        ExportError: If fewer labels are equal, or values are not close.
        UserError: If the segmentor answers with what is no number.
    """
    images = pixels = different = ties = 0
    difference = largest = 0.0
    classes: set[int] = set()
    for sample in samples:
        with torch.no_grad():
            wanted = graph(sample)
        arrays = [w.numpy() for w in (wanted if isinstance(wanted, tuple) else (wanted,))]
        labels, values = _labels_and_values(arrays, graph.model.multi_label)
        found_labels, found_values = _labels_and_values(run(sample.numpy()), graph.model.multi_label)
        if not np.isfinite(values).all():
            raise UserError('the network answers with NaN or infinite numbers; look at the checkpoint')
        if found_labels.shape != labels.shape:
            raise ExportError(f'{name} gives labels of {found_labels.shape} instead of {labels.shape}')
        others = labels != found_labels
        tied = others & _ties(graph, sample, found_labels) if others.any() else others
        images += len(labels)
        pixels += labels.size
        different += int((others & ~tied).sum())
        ties += int(tied.sum())
        difference = max(difference, float(np.abs(values - found_values).max()))
        largest = max(largest, float(np.abs(values).max()))
        classes.update(np.unique(labels).tolist())
    check = Check(name, images, pixels, different, ties, difference, len(classes))
    if check.equal < least or (least == 1 and not difference <= CLOSE * largest):
        raise ExportError(f'the file answers differently and was not kept. {check}')
    return check


def _labels_and_values(outputs: list[np.ndarray], several: bool) -> tuple[np.ndarray, np.ndarray]:
    if len(outputs) == 2:
        return outputs[0], outputs[1]
    (logits,) = outputs
    if several:
        return logits > 0, logits
    return logits.argmax(1) if logits.shape[1] > 1 else (logits[:, 0] > 0), logits


@torch.no_grad()
def _ties(graph: CoarseNetwork, sample: Tensor, labels: np.ndarray) -> np.ndarray:
    """Where labels (N, H, W) are as good as the graph's own, up to rounding."""
    logits = graph.logits(sample)
    if graph.model.multi_label:
        return (logits.abs() <= TIE * logits.abs().max()).numpy()
    index = torch.from_numpy(labels.astype(np.int64))[:, None]
    if logits.shape[1] == 1:
        threshold = torch.tensor(graph.model.decode_head.threshold if graph.takes_pictures else 0.5).logit()
        behind = (logits - threshold).abs()
    else:
        behind = logits.max(1, keepdim=True).values - logits.gather(1, index.clamp(0, logits.shape[1] - 1))
    there = index < max(logits.shape[1], 2)
    return (there & (behind <= TIE * logits.abs().max()))[:, 0].numpy()


def write_program(graph: CoarseNetwork, example: Tensor, path: Path) -> None:
    """Write what `torch.export.load` reads."""
    free = torch.export.Dim.DYNAMIC
    shapes = dict.fromkeys(_free_axes(graph), free)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter('ignore')  # of weights that are views
        torch.export.save(torch.export.export(graph, (example,), dynamic_shapes=(shapes,)), path)


def write_torchscript(graph: CoarseNetwork, example: Tensor, path: Path) -> None:
    """Write what `torch.jit.load` reads."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter('ignore')  # that sizes are traced, and that TorchScript is no longer developed
        torch.jit.trace(graph, example, check_trace=False).save(str(path))


def write_onnx(graph: CoarseNetwork, example: Tensor, path: Path) -> None:
    """Write an ONNX file by torch's older exporter: the same answers, in a hundredth of the newer one's time."""
    need('onnx'), need('onnxruntime')
    inputs, outputs = ['images'], ['logits']
    if graph.takes_pictures:
        inputs, outputs = ['pictures'], ['labels', 'confidence']
    names = _free_axes(graph)
    out = {0: 'batch', 2: 'rows', 3: 'columns'} if not graph.takes_pictures else names
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter('ignore')  # that sizes are traced, and that there is a newer exporter
        torch.onnx.export(
            graph,
            (example,),
            str(path),
            dynamo=False,
            opset_version=18,
            input_names=inputs,
            output_names=outputs,
            dynamic_axes={inputs[0]: names, **dict.fromkeys(outputs, out)},
        )


def _free_axes(graph: CoarseNetwork) -> dict[int, str]:
    height = 1 if graph.takes_pictures else 2
    return {0: 'batch', height: 'height', height + 1: 'width'}


WRITERS: dict[str, Callable[[CoarseNetwork, Tensor, Path], Any]] = {
    'onnx': write_onnx,
    'program': write_program,
    'torchscript': write_torchscript,
}
