"""A trained model, ready for inference."""

import copy
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import DATASETS, MODELS

from ..checkpoints import load_file, load_state_dict
from ..checkpoints.zoo import PRETRAINED, pretrained
from ..config_files import read_config
from ..datasets import iter_datasets
from ..errors import UserError
from ..models import DeepLab
from .fast import bf16_pays, prepare_for_inference
from .runtime import move_to_onnxruntime

if TYPE_CHECKING:

    class Segmentor(EncoderDecoder):
        """Any segmentor of MMSegmentation, with what `init_model` (ours and MMSegmentation's) hangs on it."""

        cfg: Config
        dataset_meta: dict[str, Any]
        inference_dtype: torch.dtype | None
else:
    Segmentor = EncoderDecoder

Precision = Literal['fp32', 'bf16', 'fp16']
Runtime = Literal['torch', 'onnxruntime']


def init_model(
    config: str | Path | Config,
    checkpoint: str | Path,
    device: str = 'auto',
    output_stride: int | None = None,
    precision: Precision | None = None,
    compile: bool = False,
    runtime: Runtime = 'torch',
) -> Segmentor:
    """Build a config's segmentor for inference and load its weights, all of them.

    Args:
        config: Config file, name of a ready one such as 'deeplabv3plus_r101_voc', or loaded config.
        checkpoint: Checkpoint file of this model; 'pretrained' for published weights, whose name (`deeplab models`)
            is then in the place of the config.
        device: 'auto' takes a GPU if there is one; else a PyTorch device, such as 'cpu' or 'cuda:1'.
        output_stride: In place of the config's; the weights are the same.
        precision: 'bf16' or 'fp16' computes the network in that type; None or 'fp32' in float32. On a CPU without
            bfloat16 units, where it would be many times slower, bf16 is left out and this is said.
        compile: Whether `torch.compile` translates backbone and head, at their first picture, which takes minutes.
        runtime: 'onnxruntime' lets ONNX Runtime compute a DeepLab's network on the CPU, about twice as fast: it is
            translated and compared with the model here, in seconds.

    Returns:
        The model in eval mode, batch norm folded into the convolutions, with `dataset_meta` (class names, palette).

    Raises:
        UserFileNotFoundError: config or checkpoint do not exist.
        UserError: neither the checkpoint nor the config's test dataset tells the classes; for a device that is not
            there, an output stride that the network has not, or a precision or runtime that the device has not.
        UserImportError: the runtime is not installed.
        CheckpointMismatchError: the checkpoint is of another model; the message lists the differences.
    """
    if checkpoint == PRETRAINED:
        config, checkpoint = pretrained(str(config))
    if device == 'auto':
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
    _check_device(device)
    if not isinstance(config, Config):
        config = read_config(config)
    init_default_scope(config.get('default_scope', 'mmseg'))
    settings = copy.deepcopy(config.model)
    if output_stride is not None:
        if settings.type not in ('DeepLab', DeepLab):
            raise UserError(f'output_stride={output_stride} is set for a DeepLab; the config has {settings.type}')
        settings.output_stride = output_stride
    weights = load_file(checkpoint)
    model: Any = revert_sync_batchnorm(MODELS.build(settings))
    load_state_dict(model, weights, source=str(checkpoint))
    meta = weights.get('meta', {}).get('dataset_meta') if isinstance(weights.get('meta'), dict) else None
    model.dataset_meta = meta or _dataset_meta(config)
    model.cfg = config
    model.to(device)
    model.inference_dtype = _dtype(precision, device)
    prepare_for_inference(model)
    if runtime not in ('torch', 'onnxruntime'):
        raise UserError(f"runtime={runtime!r}: choose 'torch' or 'onnxruntime'")
    if runtime == 'onnxruntime':
        if compile:
            raise UserError("compile=True is for runtime='torch': leave one of them out")
        move_to_onnxruntime(model)
    if compile:
        for part in (model.backbone, model.decode_head):
            part.forward = torch.compile(part.forward, dynamic=True)
    return model


def _check_device(device: str) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # what PyTorch has not, or has no hardware or driver for
        reason = str(error).partition('\n')[0]
        raise UserError(f"device={device!r} can not be used: {reason}. Give 'cpu'; see `deeplab doctor`") from error


def _dtype(precision: str | None, device: str) -> torch.dtype | None:
    """The type to compute in under autocast; None leaves float32."""
    kinds = {None: None, 'fp32': None, 'bf16': torch.bfloat16, 'fp16': torch.float16}
    if precision not in kinds:
        raise UserError(f"precision={precision!r}: choose 'fp32', 'bf16' or 'fp16'")
    if torch.device(device).type == 'cpu':
        if precision == 'fp16':
            raise UserError("precision='fp16' needs a GPU; on a CPU use 'bf16' or 'fp32'")
        if precision == 'bf16' and not bf16_pays():
            print_log(
                'precision=bf16: this processor has no bfloat16 units and would be many times slower, so that float32 '
                'is computed',
                logger='current',
                level=logging.WARNING,
            )
            return None
    return kinds[precision]


def _dataset_meta(cfg: Config) -> dict:
    """Class names and palette of the test dataset: its class has them, or the files that its arguments name."""
    dataset = next(iter_datasets(cfg.test_dataloader))
    kind: Any = DATASETS.get(dataset['type']) if isinstance(dataset['type'], str) else dataset['type']
    if 'classes' in kind.METAINFO:
        return kind.METAINFO
    try:
        return DATASETS.build({**dataset, 'lazy_init': True, 'pipeline': []}).metainfo
    except (OSError, ValueError, AssertionError) as error:
        raise UserError(
            f'the checkpoint names no classes, and test_dataloader.dataset, {kind.__name__}, does not either: {error}. '
            f"Set its data_root, or put dict(dataset_meta=dict(classes=..., palette=...)) into the checkpoint's 'meta'"
        ) from error
