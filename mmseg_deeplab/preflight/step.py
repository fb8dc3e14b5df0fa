"""One forward, loss and backward pass on a small generated batch, before the run does it with real ones."""

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.model import revert_sync_batchnorm
from mmengine.structures import PixelData
from mmseg.models.segmentors.base import BaseSegmentor
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from ..datasets.bands import Bands
from ..models.backbones import DeepLabBackbone
from ..models.layers import image_channels
from .building import explained
from .errors import PreflightError, reason
from .kinds import name_of, pair
from .model import heads, place_of

LARGEST = 64
"""Larger sides are cut to 64 to 127 pixels: what is left after 64s are taken away fits the same strides."""
DEFAULT_SIZE = (513, 513)
POOLED = (
    'train_dataloader.batch_size is 1 per device, and the model has trainable batch norm after image '
    'pooling: one image is one value per channel, of which there is no variance. Set '
    'train_dataloader.batch_size=2 or more (optim_wrapper.accumulative_counts does not help), freeze '
    "batch norm (model.frozen_bn=['backbone','decode_head']), or leave image pooling out "
    '(model.decode_head.pool_bins=())'
)


def check_crop(model: nn.Module, pipeline: Sequence, key: str) -> None:
    """Check that the crop of a training pipeline fits into the size that batches are padded to.

    Raises:
        PreflightError: it does not; a smaller image would come out in another size than the crops.
    """
    size = pair(getattr(getattr(model, 'data_preprocessor', None), 'size', None))
    for i, step in enumerate(pipeline):
        crop = pair(step.get('crop_size')) if isinstance(step, Mapping) else None
        if size and crop and any(side > padded for side, padded in zip(crop, size, strict=False)):
            raise PreflightError(
                f'{key}.pipeline.{i} ({name_of(step)}) cuts crops of {crop[0]} x {crop[1]} (height x width), but '
                f'training images are padded to {size[0]} x {size[1]} (model.crop_size or model.data_preprocessor.size)'
                f', so that smaller ones would be of another size: set both to one size'
            )


def check_bands(model: nn.Module, pipeline: Sequence, key: str) -> None:
    """Check that a pipeline loads as many bands as the network and the data preprocessor take.

    Raises:
        PreflightError: naming both numbers and what to set.
    """
    for i, step in enumerate(pipeline):
        if name_of(step) not in ('LoadImage', 'LoadImageFromFile') or step.get('color_type', 'color') != 'color':
            continue
        place = f'{key}.pipeline.{i} ({name_of(step)})'
        bands = explained(lambda step=step: Bands.of_step(step), step, place)
        count = len(bands.indices) if bands else 3
        said = f'{place} loads {count} bands, {f"bands={bands.indices}" if bands else "RGB"}'
        backbone = getattr(model, 'backbone', None)
        taken = backbone.in_channels if isinstance(backbone, DeepLabBackbone) else image_channels(model)
        if taken != count:
            raise PreflightError(
                f'{said}, but the network takes {taken} (model.backbone.in_channels): set model.backbone.in_channels='
                f'{count}, with a mean and a std for each in model.data_preprocessor, or load {taken} by '
                f'LoadImage(bands=...)'
            )
        for name in ('mean', 'std'):
            values = getattr(getattr(model, 'data_preprocessor', None), name, None)
            if isinstance(values, Tensor) and values.numel() not in (1, count):
                raise PreflightError(
                    f'{said}, but model.data_preprocessor.{name} has {values.numel()} values: give one for each'
                )


def first_batch(
    model: Any, samples: list[dict], pipeline: Sequence, collate: Callable, key: str
) -> tuple[Tensor, list[SegDataSample]] | None:
    """Return samples as they come out of a pipeline and the data preprocessor.

    Args:
        model: The segmentor.
        samples: As the dataset lists them.
        pipeline: The dataset's transforms.
        collate: What makes a batch of the samples.
        key: The dataset's place, which begins with `train` for training.

    Returns:
        Images (N, C, H, W) and their samples; None for the views of a test-time augmentation.

    Raises:
        PreflightError: naming the step of the pipeline, or the preprocessor, that can't handle them.
    """
    steps = [Compose([copy.deepcopy(step)]) for step in pipeline]
    results: list[Any] = []
    for sample in samples:
        data: Any = copy.deepcopy(sample)
        for i, step in enumerate(steps):
            data = explained(lambda step=step, data=data: step(data), pipeline[i], f'{key}.pipeline.{i}')
            if data is None:  # a sample that is left out; datasets draw another
                break
        else:
            results.append(data)
    if not results:
        return None
    if not all(isinstance(data, Mapping) and {'inputs', 'data_samples'} <= set(data) for data in results):
        raise PreflightError(
            f"{key}.pipeline gives no 'inputs' and 'data_samples': its last step must be dict(type='PackSegInputs')"
        )
    if any(isinstance(data['inputs'], list) for data in results):
        return None
    preprocessor = model.data_preprocessor
    batch = explained(
        lambda: preprocessor(collate(results), training=key.startswith('train')),
        {},
        f'model.data_preprocessor on {key}',
    )
    if not torch.isfinite(batch['inputs']).all():
        raise PreflightError(
            f'images of {key} are not finite after model.data_preprocessor: is one of its std 0, or are there such '
            f'values in the files?'
        )
    return batch['inputs'], batch['data_samples']


def check_step(model: nn.Module, cfg: Config, real: tuple[Tensor, list[SegDataSample]] | None, void: int) -> None:
    """Train the model for one step on a small batch, the right half of which is void.

    Args:
        model: A segmentor on the CPU that nobody uses after this.
        cfg: Its config.
        real: A batch as it comes to the model in training, which gives the sizes; None generates all of it.
        void: The label of void.

    Raises:
        PreflightError: naming the part that fails and, where it is known, the setting that makes it fail.
    """
    if not isinstance(model, BaseSegmentor):
        return
    network = _on_cpu(model).train()
    single = cfg.train_dataloader.get('batch_size', 1) == 1 and int(os.environ.get('WORLD_SIZE', 1)) == 1
    generated, real = real is None, real or _blank(network, training=True)
    inputs, samples = _batch(network, real, 1 if single else 2, void)
    size = (
        f'{len(inputs)} generated images of {inputs.shape[2]} x {inputs.shape[3]} pixels, the right half void ({void})'
    )
    try:
        total, losses = network.parse_losses(network.loss(inputs, samples))
        if total.requires_grad:
            total.backward()
    except Exception as error:  # whatever it is, training would end with it
        if 'value per channel' in str(error) and single:
            raise PreflightError(POOLED) from error
        lacks_field = generated and isinstance(error, AttributeError) and 'SegDataSample' in str(error)
        if lacks_field or _is_of_size(network, inputs, real[0].shape, error):
            return
        place = place_of(error, cfg.model, network)
        raise PreflightError(f'{place} fails in the first training step, tried on {size}: {reason(error)}') from error
    if not torch.isfinite(total):
        wrong = ', '.join(f'{name} is {value.item()}' for name, value in losses.items() if not value.isfinite().all())
        raise PreflightError(
            f'the loss is not finite, tried on {size}: {wrong}. Is one of the losses in model.*.loss_decode made for '
            f'labels without void?'
        )


def check_prediction(model: nn.Module, cfg: Config, real: tuple[Tensor, list[SegDataSample]] | None) -> None:
    """Predict a small generated image.

    Args:
        model: A segmentor on the CPU that nobody uses after this.
        cfg: Its config.
        real: A batch as it comes to the model in a validation or test, which gives the size; None generates all of it.

    Raises:
        PreflightError: naming the part that fails.
    """
    if not isinstance(model, BaseSegmentor):
        return
    network = _on_cpu(model).eval()
    real = real or _blank(network, training=False)
    inputs, samples = _batch(network, real, 1, 255)
    try:
        with torch.no_grad():
            network.predict(inputs, samples)
    except Exception as error:  # whatever it is, the test would end with it
        if _is_of_size(network, inputs, real[0].shape, error):
            return
        place = place_of(error, cfg.model.get('module', cfg.model), network)
        raise PreflightError(
            f'{place} fails to predict, tried on a generated image of {inputs.shape[2]} x {inputs.shape[3]} pixels: '
            f'{reason(error)}'
        ) from error


def _on_cpu(model: nn.Module) -> Any:
    """Return the model as it trains on one device, with every value finite.

    A constructor may leave memory as it was found, for `init_weights` to fill.
    """
    network = revert_sync_batchnorm(model)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.is_floating_point():
                parameter.nan_to_num_(0, 0, 0).clamp_(-10, 10)
    return network


def _blank(network: nn.Module, training: bool) -> tuple[Tensor, list[SegDataSample]]:
    """A batch of one black image, of the size that the data preprocessor pads an image of `DEFAULT_SIZE` to."""
    preprocessor: Any = network.data_preprocessor
    padding = vars(preprocessor) if training else getattr(preprocessor, 'test_cfg', None) or {}
    divisor = padding.get('size_divisor') or 1
    size = (-(-side // divisor) * divisor for side in padding.get('size') or DEFAULT_SIZE)
    return torch.zeros(1, image_channels(network), *size), [SegDataSample()]


def _batch(
    network: nn.Module, real: tuple[Tensor, list[SegDataSample]], number: int, void: int
) -> tuple[Tensor, list[SegDataSample]]:
    """Normalised noise with labels of all classes; what else a sample holds is cut from the real ones."""
    inputs, samples = real
    height, width = (side if side < 2 * LARGEST else LARGEST + side % LARGEST for side in inputs.shape[2:])
    generator = torch.Generator().manual_seed(0)
    classes = min((head.num_classes for head in heads(network).values()), default=1)
    made = []
    for i in range(number):
        sample = copy.deepcopy(samples[i % len(samples)])
        for name, field in list(sample.items()):
            if isinstance(field, PixelData):
                sample.set_data({name: PixelData(data=field.data[..., :height, :width])})
        if getattr(network, 'multi_label', False):
            label = torch.randint(2, (classes, height, width), generator=generator)
        else:
            label = torch.randint(classes, (1, height, width), generator=generator)
        label[..., width // 2 :] = void
        sample.gt_sem_seg = PixelData(data=label)
        shape = dict.fromkeys(('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape'), (height, width))
        sample.set_metainfo({**shape, **dict.fromkeys(('padding_size', 'img_padding_size'), (0, 0, 0, 0))})
        made.append(sample)
    return torch.randn(number, inputs.shape[1], height, width, generator=generator), made


def _is_of_size(network: nn.Module, inputs: Tensor, real: torch.Size, error: Exception) -> bool:
    """Whether the network itself, without its loss, fails on small images and not (for all that is known) on real ones.

    A network that can't run here at all, for want of a GPU, is no mistake of the config either.
    """
    try:
        with torch.no_grad():
            network(inputs, mode='tensor')
        return False
    except Exception:  # as before: the network itself
        pass
    try:
        with torch.no_grad():
            shapes = copy.deepcopy(network).to('meta')
            shapes(torch.empty(len(inputs), *real[1:], device='meta'), mode='tensor')
    except Exception as again:  # on the meta device some operations are missing
        return type(again) is not type(error) or 'meta' in str(again).lower()
    return True
