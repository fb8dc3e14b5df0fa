"""The segmentor that hands one output stride to backbone and head."""

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import add_prefix
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import UserError
from .backbones import DeepLabBackbone
from .crf import RefinedByCRF
from .data_preprocessor import SegDataPreProcessor
from .heads import DeepLabHead
from .layers import resize
from .losses import own_form
from .windows import Span, blend, even_weights

_KEEP_LOGITS = ContextVar('keep_logits', default='none')
_FEATURES: ContextVar[tuple[Tensor, ...] | None] = ContextVar('features', default=None)
TEST_PADDINGS = ('corners', 'none', 'cells')
SCALED_SIZES = ('corners', 'factor')
DECODER_STRIDE = 4
"""Stride of the logits of a head with a decoder."""
CLASSES_AT_ONCE = 8
"""Class maps that are brought to full size together at test time; fewer is slower, more takes memory."""


@contextmanager
def keeping_logits(kind: Literal['full', 'coarse', 'coarse alone']) -> Generator[None, None, None]:
    """A context in which every `DeepLab` predicts with logits, for the thread that enters it.

    Args:
        kind: 'full' gives `seg_logits` at the original size, 'coarse' gives `coarse_logits`, the network's own, which
            `DeepLab.full_logits` brings to that size; 'coarse alone' leaves the label map out.
    """
    token = _KEEP_LOGITS.set(kind)
    try:
        yield
    finally:
        _KEEP_LOGITS.reset(token)


@contextmanager
def with_features(features: tuple[Tensor, ...] | None) -> Generator[None, None, None]:
    """A context in which a `DeepLab` takes these for its backbone's features; None leaves all as it is."""
    token = _FEATURES.set(features)
    try:
        yield
    finally:
        _FEATURES.reset(token)


@dataclass(frozen=True)
class CoarseLogits:
    """A network's logits (C, h, w) of one image, the size to which they are resized, and that of its input in it."""

    data: Tensor
    padded_size: Sequence[int]
    size: Sequence[int]


def class_of(kind: str | type) -> type | None:
    """The class that a config's `type` means, by its name in the registry or as it is; None where it has no such."""
    return MODELS.get(kind) if isinstance(kind, str) else kind


def name_of(kind: str | type) -> str:
    """The name of a config's `type`."""
    return kind if isinstance(kind, str) else kind.__name__


def with_own_losses(head: dict) -> dict:
    """The config of a head of MMSegmentation with losses in which pixels without a label take no part.

    Heads that compute their losses in a way of their own are left as they are.
    """
    kind = class_of(head['type'])
    usual = kind is not None and getattr(kind, 'loss_by_feat', None) is BaseDecodeHead.loss_by_feat
    if not usual or issubclass(kind, DeepLabHead) or 'loss_decode' not in head:
        return head
    return {**head, 'loss_decode': own_form(head['loss_decode'], head.get('ignore_index', 255))}


def scaled_size(size: Sequence[int], scale: float) -> list[int]:
    """Size with corners on corners: (side - 1) * scale + 1, halves rounded up; 321 pixels become 241 at 0.75.

    In whole numbers, so that a traced size stays free.
    """
    up, down = Fraction(scale).limit_denominator(1000).as_integer_ratio()
    return [((side - 1) * 2 * up + down) // (2 * down) + 1 for side in size]


def is_upright(meta: Mapping) -> bool:
    """Whether an input begins where its image does: it is not flipped, and padded below and at the right alone."""
    left, _, top, _ = meta.get('img_padding_size', meta.get('padding_size', (0, 0, 0, 0)))
    return left == top == 0 and not meta.get('flip')


def _upright(maps: Tensor, meta: Mapping) -> Tensor:
    """Maps (..., H, W) of an input without the preprocessor's padding, and turned as the image was before its flip."""
    left, right, top, bottom = meta.get('img_padding_size', meta.get('padding_size', (0, 0, 0, 0)))
    maps = maps[..., top : maps.shape[-2] - bottom, left : maps.shape[-1] - right]
    if meta.get('flip'):
        maps = maps.flip(-1 if meta['flip_direction'] == 'horizontal' else -2)
    return maps


def check_finite(logits: Tensor, name: str) -> None:
    """Raise a UserError that names the picture if its logits are no numbers that a class could be chosen by."""
    if not torch.isfinite(logits).all():
        raise UserError(
            f'{name}: the network answers with NaN or infinite numbers; look at the checkpoint, or at precision'
        )


def _slide_spans(length: int, window: int, stride: int) -> list[Span]:
    """Where MMSegmentation's windows lie along a side: one stride apart, the last one moved back to its end."""
    count = max(length - window + stride - 1, 0) // stride + 1
    stops = [min(i * stride + window, length) for i in range(count)]
    return [(max(stop - window, 0), stop) for stop in stops]


def _hand_on(name: str, value: object, part: Any, place: str, key: str | None = None) -> Any:
    """A part's config, or each one's of a list, with the value that the model states once as `name` put at `key`."""
    if isinstance(part, (list, tuple)):
        return [_hand_on(name, value, child, f'{place}.{i}', key) for i, child in enumerate(part)]
    key = key or name
    stated = part.get(key)
    stated = tuple(stated) if isinstance(stated, list) else stated
    if stated is not None and stated != value:
        raise UserError(
            f'model.{name}={value!r} but model.{place}.{key}={stated!r}: state it once, as model.{name}, '
            f'and leave model.{place}.{key} out'
        )
    return {**part, key: value}


def _build_preprocessor(cfg: dict) -> nn.Module:
    """A data preprocessor with a mean and a spread for each band."""
    # MMEngine's base class would look in its own registry, unless a default scope were set.
    kind = class_of(cfg['type']) if 'type' in cfg else None
    if isinstance(kind, type) and issubclass(kind, SegDataPreProcessor):
        return MODELS.build(cfg)
    # MMSegmentation's own, which a config can name by its class, takes one or three.
    bands = {name: cfg[name] for name in ('mean', 'std') if isinstance(cfg.get(name), Sequence)}
    built = MODELS.build({**cfg, **{name: values[:1] for name, values in bands.items()}})
    for name, values in bands.items():
        setattr(built, name, torch.tensor(values, dtype=torch.float32).view(-1, 1, 1))
    return built


@MODELS.register_module()
class DeepLab(EncoderDecoder):
    """An `EncoderDecoder` with one `output_stride`.

    Backbone and head are connected here: the head gets the output stride, the normalisation and the numbers of
    channels that its config does not state. Heads of MMSegmentation work as they are; one of its backbones goes
    under a DeepLab head by `MMSegEncoder`, or in an `EncoderDecoder`, with the head's `output_stride`, `in_channels`
    and `low_level_channels` stated.

    At test time images are padded right and bottom with the mean to k * output_stride + 1 pixels if the head puts
    corners on corners, as the releases pad theirs (513, 1025 x 2049): on other sizes the corners of features and
    pixels differ, and logits are moved by up to output_stride - 1 pixels. Other codebases have other rules, by which
    their weights were trained and measured: `test_padding` and `scaled_size`.

    Args:
        backbone: Config of a DeepLab backbone.
        decode_head: Config of a head.
        output_stride: Input size divided by the size of the coarsest features.
        num_classes: Number of classes, without void; handed on to `decode_head` and `auxiliary_head`.
        crop_size: (height, width) to which the data preprocessor pads training images, and test images that are
            smaller, unless its `test_cfg` says otherwise. Without it the preprocessor's own values count.
        norm_cfg: Normalisation of backbone and head, where their configs don't state one; one without a `type` there
            changes what it states.
        frozen_bn: Parts whose batch norm keeps its statistics in training, of 'backbone' and 'decode_head'. v2 freezes
            the backbone's; the second phase of v3 both (v3, section 4).
        frozen_bn_affine: Whether scale and shift of those are frozen too, as v2 and the text of v3 have it; the
            TensorFlow release trains them (`fine_tune_batch_norm=False`).
        frozen: Parts that keep all they have, parameters, statistics of batch norm and no dropout, of 'backbone' and
            'decode_head'. The optimizer constructor of this package leaves frozen parameters out.
        frozen_stages: The same for the backbone's first layers: 0 for its stem, k for the stem and stages 1 to k; -1
            for none. Stages are block1, block2 ... of a ResNet, the seven rows of MobileNetV2, conv1 to conv5 of VGG-16
            (which has no stem), entry, middle and exit flow of Xception.
        multi_scale_inputs: Scales of the input, 1.0 first; (1.0, 0.75, 0.5) in v2 on ResNet. The logits of all are
            brought to the size of the first and their maximum is taken (v2, section 4.1.2).
        test_padding: What makes up for sizes that are no multiple of the output stride. 'corners' is the rule above.
            'none' brings the logits of the image as it is to its size. 'cells' makes them as many pixels as their
            cells are long and cuts off what is beyond the image, as detectron2 does.
        scaled_size: Size of the scaled inputs at test: 'corners', (side - 1) * scale + 1, as in Caffe; or 'factor',
            side * scale rounded down, sampled at steps of exactly 1 / scale, as in kazuto1011/deeplab-pytorch.
        keep_seg_logits: Whether predictions carry `seg_logits` at the original size. They take 4 bytes for each class
            and pixel, so by default only the label map, `pred_sem_seg`, is made, a few classes at a time.
        crf: Arguments of `mmseg_deeplab.crf.DenseCRFLayer`, such as `dict(iterations=5, learn=True)`: predictions and
            the loss are those of the logits, brought to the size of the input, after the CRF, which is trained with
            the network. `plain_weight`, 0.4 by default, is the weight of the loss on the logits before it. Mode
            'tensor' gives the head's logits as they are.
        kwargs: See MMSegmentation's `EncoderDecoder`.
    """

    network: Callable[[Tensor], Tensor] | None = None
    """What computes backbone and head in their place, if anything: another runtime, for inference only."""

    def __init__(
        self,
        backbone: dict,
        decode_head: dict,
        output_stride: int = 16,
        num_classes: int | None = None,
        crop_size: Sequence[int] | None = None,
        norm_cfg: dict | None = None,
        frozen_bn: Sequence[str] = (),
        frozen_bn_affine: bool = True,
        multi_scale_inputs: Sequence[float] = (1.0,),
        test_padding: str = 'corners',
        scaled_size: str = 'corners',
        keep_seg_logits: bool = False,
        crf: dict | None = None,
        frozen: Sequence[str] = (),
        frozen_stages: int = -1,
        **kwargs,
    ):
        self.output_stride = output_stride
        self.norm_cfg = norm_cfg
        self.keep_seg_logits = keep_seg_logits
        backbone_type, head_name = class_of(backbone['type']), name_of(decode_head['type'])
        if backbone_type is not None and not issubclass(backbone_type, DeepLabBackbone):
            raise UserError(
                f'{backbone_type.__name__} has no output_stride to set. A DeepLab segmentor takes a DeepLab backbone, '
                f"or this one as dict(type='MMSegEncoder', encoder=dict(...)), which finds its strides and channels; "
                f"to put this one under {head_name}, use model.type='EncoderDecoder', set its strides and dilations, "
                f'and give the head output_stride, in_channels and, for a decoder, low_level_channels'
            )
        if not (multi_scale_inputs and multi_scale_inputs[0] == 1 and all(0 < s <= 1 for s in multi_scale_inputs)):
            raise UserError(f'multi_scale_inputs={tuple(multi_scale_inputs)} must be 1.0 and then scales from 0 to 1')
        if len(multi_scale_inputs) > 1 and kwargs.get('auxiliary_head') is not None:
            raise UserError('multi_scale_inputs gives each scale a loss of its own; leave auxiliary_head out')
        self.multi_scale_inputs = tuple(multi_scale_inputs)
        for name, value, allowed in (
            ('test_padding', test_padding, TEST_PADDINGS),
            ('scaled_size', scaled_size, SCALED_SIZES),
        ):
            if value not in allowed:
                raise UserError(f'model.{name}={value!r} is unknown; choose one of {allowed}')
        self.test_padding, self.scaled_size = test_padding, scaled_size
        if num_classes is not None:
            decode_head = _hand_on('num_classes', num_classes, decode_head, 'decode_head')
            if kwargs.get('auxiliary_head') is not None:
                kwargs['auxiliary_head'] = _hand_on(
                    'num_classes', num_classes, kwargs['auxiliary_head'], 'auxiliary_head'
                )
        if crop_size is not None and isinstance(kwargs.get('data_preprocessor'), dict):
            size = tuple(crop_size)
            preprocessor = _hand_on('crop_size', size, kwargs['data_preprocessor'], 'data_preprocessor', 'size')
            kwargs['data_preprocessor'] = {'test_cfg': dict(size=size), **preprocessor}
        preprocessor = kwargs.get('data_preprocessor')
        if isinstance(preprocessor, dict):
            kwargs['data_preprocessor'] = _build_preprocessor(preprocessor)
        # The base class reads it by attribute as well as by key.
        kwargs.setdefault('test_cfg', ConfigDict(mode='whole'))
        super().__init__(backbone=self._fill(backbone, output_stride=output_stride), decode_head=decode_head, **kwargs)
        self._check_void()
        self._check_bands(preprocessor)
        self.multi_label = bool(getattr(self.decode_head, 'multi_label', False))
        self._check_labels(crf)
        self.crf = None if crf is None else RefinedByCRF(self.out_channels, preprocessor, **crf)
        self.frozen_bn = tuple(frozen_bn)
        for part in self.frozen_bn:
            if part not in ('backbone', 'decode_head'):
                raise UserError(f"frozen_bn={self.frozen_bn}: choose of 'backbone' and 'decode_head'")
            if frozen_bn_affine:
                for layer in self._batch_norms(part):
                    layer.requires_grad_(False)
        self._frozen = self._frozen_parts(frozen, frozen_stages)
        for module in self._frozen:
            module.requires_grad_(False)

    def _frozen_parts(self, frozen: Sequence[str], stages: int) -> list[nn.Module]:
        if not isinstance(frozen, (list, tuple)) or not {*frozen} <= {'backbone', 'decode_head'}:
            raise UserError(f"frozen={frozen!r}: give a list of 'backbone' and 'decode_head'")
        parts = [getattr(self, name) for name in frozen]
        if stages == -1:
            return parts
        if 'backbone' in frozen:
            raise UserError(f'frozen_stages={stages} has no effect with frozen={tuple(frozen)}, the whole backbone')
        layers = self.backbone.parts_by_stage()
        if len(layers) == 1:  # an encoder of another library
            raise UserError(
                f"frozen_stages={stages!r}: {type(self.backbone).__name__} tells no stages; frozen=('backbone',) "
                'freezes it whole'
            )
        if isinstance(stages, bool) or not isinstance(stages, int) or not 0 <= stages < len(layers):
            raise UserError(
                f'frozen_stages={stages!r}: {type(self.backbone).__name__} has {len(layers) - 1} stages; give 0 for '
                f'its stem, 1 to {len(layers) - 1} for as many stages as well, -1 for none'
            )
        return [*parts, *(module for stage in layers[: stages + 1] for module in stage)]

    def _fill(self, cfg: Mapping, **values) -> dict:
        """Add to a part's config what it does not state."""
        values.update(cfg)
        if self.norm_cfg is not None:
            own = cfg.get('norm_cfg', {})
            values['norm_cfg'] = own if own is None or 'type' in own else {**self.norm_cfg, **own}
        return values

    def complete_head(self, decode_head: Mapping) -> dict:
        """The config of a DeepLab head with what it does not state: channels, output stride and normalisation."""
        head_type = class_of(decode_head['type'])
        if head_type is None or not issubclass(head_type, DeepLabHead):
            return dict(decode_head)
        channels = self.backbone.feature_channels
        for key in ('in_index', 'low_level_index', 'mid_level_index'):
            if (decode_head.get(key) or 0) not in range(-len(channels), len(channels)):
                raise UserError(
                    f'decode_head.{key}={decode_head[key]!r}: {type(self.backbone).__name__} has {len(channels)} '
                    f'feature maps, with {channels} channels; choose one of 0 to {len(channels) - 1}'
                )
        values = dict(in_channels=channels[decode_head.get('in_index', -1)], output_stride=self.output_stride)
        if head_type.needs_low_level:
            index = decode_head.get('low_level_index', self.backbone.low_level_index)
            values.update(low_level_index=index, low_level_channels=channels[index])
            if decode_head.get('mid_level_index') is not None:
                values.update(mid_level_channels=channels[decode_head['mid_level_index']])
        if head_type.needs_taps:
            if len(self.multi_scale_inputs) > 1:
                raise UserError(
                    f'{head_type.__name__} takes several scales from its taps; leave multi_scale_inputs at (1.0,)'
                )
            values.update(tap_channels=channels[:-1], image_channels=self.backbone.in_channels)
        return self._fill(decode_head, **values)

    def _init_decode_head(self, decode_head: dict) -> None:
        super()._init_decode_head(self.complete_head(with_own_losses(decode_head)))

    def _init_auxiliary_head(self, auxiliary_head: dict | list[dict] | None) -> None:
        if auxiliary_head is not None:
            several = isinstance(auxiliary_head, list)
            own: Any = [with_own_losses(h) for h in auxiliary_head] if several else with_own_losses(auxiliary_head)
            super()._init_auxiliary_head(own)

    def _check_void(self) -> None:
        """Check that what masks are padded with is what the losses leave out."""
        padding = getattr(self.data_preprocessor, 'seg_pad_val', None)
        void = getattr(self.decode_head, 'ignore_index', padding)
        if padding is not None and padding != void:
            raise UserError(
                f'model.data_preprocessor.seg_pad_val={padding} pads masks with a label that decode_head.ignore_index='
                f'{void} does not leave out: give both the same value, 255'
            )

    def _check_labels(self, crf: dict | None) -> None:
        """Check that all parts give a pixel one label, or all several."""
        if self.multi_label and crf is not None:
            raise UserError(
                'model.crf gives each pixel one label, decode_head.multi_label=True several: leave one of them out'
            )
        others = getattr(self, 'auxiliary_head', None)
        for head in others if isinstance(others, nn.ModuleList) else [others]:
            if head is not None and bool(getattr(head, 'multi_label', False)) != self.multi_label:
                raise UserError(
                    f'model.auxiliary_head ({type(head).__name__}) and model.decode_head must both have '
                    f'multi_label={self.multi_label}, which heads of this package take; or leave auxiliary_head out'
                )

    def _check_bands(self, settings: object) -> None:
        """Check that the data preprocessor, as its config has it, suits the bands: a mean and a spread for each."""
        bands, preprocessor = getattr(self.backbone, 'in_channels', None), self.data_preprocessor
        if bands is None:  # a backbone of somebody's own
            return
        for name in ('mean', 'std'):
            values = getattr(preprocessor, name, None)
            if values is not None and len(values) != bands:
                raise UserError(
                    f'model.data_preprocessor.{name} has {len(values)} values, but model.backbone.in_channels={bands}: '
                    f'give one for each band of the images, in their order'
                )
        turned = [key for key in ('bgr_to_rgb', 'rgb_to_bgr') if isinstance(settings, Mapping) and settings.get(key)]
        if bands != 3 and turned:
            raise UserError(
                f'model.data_preprocessor.{turned[0]} has no effect on images of model.backbone.in_channels={bands}: '
                f'set it to False, and state mean and std in the order in which the bands are loaded'
            )

    def _batch_norms(self, part: str) -> list[_BatchNorm]:
        return [m for m in getattr(self, part).modules() if isinstance(m, _BatchNorm)]

    def _dump_init_info(self) -> None:
        """Leave out the base class's two or three log lines for each parameter."""

    def train(self, mode: bool = True) -> 'DeepLab':
        """Set training mode; what is frozen, and frozen batch norm, stays in evaluation mode."""
        super().train(mode)
        for module in self._frozen if mode else ():
            module.eval()
        for part in self.frozen_bn if mode else ():
            for layer in self._batch_norms(part):
                layer.eval()
        return self

    def extract_feat(self, inputs: Tensor) -> Any:
        """The backbone's features of images (N, 3, H, W), unless `with_features` has them."""
        features = _FEATURES.get()
        return super().extract_feat(inputs) if features is None else features

    @property
    def pools_images(self) -> bool:
        """Whether its logits depend on a mean over the whole image, which parts of one can be given: `pooling_as`."""
        head: Any = self.decode_head
        as_built = self.network is None and 'forward' not in vars(head)  # else a runtime or compiler has it
        whole = (self.test_cfg or {}).get('mode', 'whole') == 'whole' and self.multi_scale_inputs == (1.0,)
        return as_built and whole and 1 in getattr(getattr(head, 'aspp', None), 'pool_bins', ())

    def pooled_features(self, inputs: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """The backbone's features of normalised images (N, 3, H, W), and which of them (N, C, h, w) are pooled."""
        features = self.extract_feat(self._pad_to_grid(inputs))
        return features, self.decode_head.selected(features)

    def _scale_features(self, inputs: Tensor) -> Iterator[Any]:
        """Features of each scale of the input; 321 pixels become 241 and 161, as in Caffe."""
        for scale in self.multi_scale_inputs:
            if scale == 1:
                scaled = inputs
            elif self.scaled_size == 'corners' or self.training:  # the loss needs labels at every 8th pixel
                scaled = self._zoom(inputs, scaled_size(inputs.shape[2:], scale))
            else:
                scaled = F.interpolate(inputs, scale_factor=scale, mode='bilinear', align_corners=self.align_corners)
            yield self.extract_feat(scaled)

    def _scale_logits(self, inputs: Tensor) -> list[Tensor]:
        """Logits of each scale of the input, at its own size."""
        return [self.decode_head(features) for features in self._scale_features(inputs)]

    def _zoom(self, maps: Tensor, size: Sequence[int]) -> Tensor:
        return resize(maps, size, self.align_corners)

    def _fuse(self, logits: list[Tensor]) -> Tensor:
        fused = logits[0]
        for smaller in logits[1:]:
            fused = torch.maximum(fused, self._zoom(smaller, fused.shape[2:]))
        return fused

    def _forward(self, inputs: Tensor, data_samples: Sequence[SegDataSample] | None = None) -> Tensor:
        """Map images (N, 3, H, W) to the head's logits, the maximum over the scales of the input."""
        if self.network is not None:
            return self.network(inputs)
        return self._fuse(self._scale_logits(inputs))

    @property
    def grid(self) -> int:
        """Pixels from which to which the features of every scale of the input lie on pixels of it."""
        return self.output_stride * math.lcm(
            *(Fraction(s).limit_denominator(8).denominator for s in self.multi_scale_inputs)
        )

    @property
    def pads_to_corners(self) -> bool:
        """Whether images are padded so that corners of features are corners of pixels."""
        return self.align_corners and self.test_padding == 'corners'

    def _full_size(self, logits: Tensor, inputs: Tensor) -> list[int]:
        """The size to which logits (N, C, h, w) of padded images (N, 3, H, W) are resized."""
        if self.test_padding != 'cells':
            return list(inputs.shape[2:])
        decodes = getattr(self.decode_head, 'needs_low_level', False)
        return [cells * (DECODER_STRIDE if decodes else self.output_stride) for cells in logits.shape[2:]]

    def _pad_to_grid(self, inputs: Tensor) -> Tensor:
        """Pad normalised images (N, 3, H, W) so that every scale of them has corners on corners of its features."""
        if not self.pads_to_corners:
            return inputs
        below, right = (-(side - 1) % self.grid for side in inputs.shape[2:])
        return F.pad(inputs, (0, right, 0, below))

    def encode_decode(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Logits of images (N, 3, H, W) at their size."""
        return self.padded_logits(inputs)[..., : inputs.shape[2], : inputs.shape[3]]

    def padded_logits(self, inputs: Tensor) -> Tensor:
        """Logits of images (N, 3, H, W), at the size that these have when they are padded, or larger."""
        padded = self._pad_to_grid(inputs)
        logits = self._forward(padded)
        return self._zoom(logits, self._full_size(logits, padded))

    def inference(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Logits of images (N, 3, H, W) at their size, whole or by windows, after the CRF if there is one."""
        logits = super().inference(inputs, batch_img_metas)
        return logits if self.crf is None else self.crf(inputs, logits, batch_img_metas)

    def slide_inference(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Logits of images (N, 3, H, W) at their size, the mean over the windows of `test_cfg`.

        MMSegmentation's own makes two further maps of that size for each window.
        """
        logits = inputs.new_empty(len(inputs), self.out_channels, *inputs.shape[2:])
        for top, left, part in self._slide(inputs, batch_img_metas):
            logits[..., top : top + part.shape[2], left : left + part.shape[3]] = part
        return logits

    def _slide(self, inputs: Tensor, metas: list[dict]) -> Iterator[tuple[int, int, Tensor]]:
        """Top, left and logits (N, C, h, w) of one part of images after the other, see `blend`."""
        settings: Any = self.test_cfg
        size, stride = tuple(settings.crop_size), tuple(settings.stride)
        if any(map(int.__gt__, stride, size)):
            raise UserError(f'test_cfg.stride={stride} leaves out pixels between windows of crop_size={size}')
        rows, columns = map(_slide_spans, inputs.shape[2:], size, stride)
        windows = (
            self.encode_decode(inputs[..., top:bottom, left:right], metas)
            for top, bottom in rows
            for left, right in columns
        )
        return blend(windows, rows, columns, even_weights(rows), even_weights(columns))

    def loss(self, inputs: Tensor, data_samples: Sequence[SegDataSample]) -> dict[str, Tensor]:
        """Losses of a batch; with multi-scale inputs the sum of those of the maximum and of each scale.

        As in the Caffe release, a scale whose labels can't be subsampled (0.75) has its logits upsampled instead. With
        a CRF, the loss of the refined logits (`refined.*`) and `plain_weight` times those.
        """
        if len(self.multi_scale_inputs) == 1 and self.crf is None:
            return super().loss(inputs, data_samples)
        features = list(self._scale_features(inputs))
        logits = [self.decode_head(each) for each in features]
        fused = self._fuse(logits)
        losses = add_prefix(self.decode_head.loss_by_feat(fused, data_samples), 'decode')
        for scale, part in zip(self.multi_scale_inputs, logits, strict=True) if len(logits) > 1 else ():
            part = part if float(1 / scale).is_integer() else self._zoom(part, logits[0].shape[2:])
            part_losses = self.decode_head.loss_by_feat(part, data_samples)
            part_losses.pop('acc_seg', None)
            losses.update(add_prefix(part_losses, f'decode_x{scale:g}'))
        if self.crf is not None:
            weight = self.crf.plain_weight
            losses = {name: value * weight if 'loss' in name else value for name, value in losses.items()}
            metas = [sample.metainfo for sample in data_samples]
            refined = self.crf(inputs, self._zoom(fused, inputs.shape[2:]), metas)
            losses.update(add_prefix(self.decode_head.loss_by_feat(refined, data_samples), 'refined'))
            if self.with_auxiliary_head:
                losses.update(self._auxiliary_head_forward_train(features[0], data_samples))
        return losses

    def predict(self, inputs: Tensor, data_samples: Sequence[SegDataSample] | None = None) -> Sequence[SegDataSample]:
        """Segment images (N, 3, H, W); each sample gets `pred_sem_seg`, a map (1, h, w) at its original size.

        The map holds bytes up to 256 classes; with several labels a pixel it is (num_classes, h, w) of 0 and 1.
        `seg_logits` (num_classes, h, w) comes with `keep_seg_logits`.
        """
        keep = self.keep_seg_logits or _KEEP_LOGITS.get() == 'full'
        lean = not keep and self.out_channels > 1 and self.crf is None
        if data_samples is None or not lean:
            return super().predict(inputs, data_samples)
        if (self.test_cfg or {}).get('mode', 'whole') != 'whole':
            metas = [sample.metainfo for sample in data_samples]
            resized = any(_upright(inputs, meta).shape[2:] != tuple(meta['ori_shape'][:2]) for meta in metas)
            if resized or _KEEP_LOGITS.get() != 'none':
                return super().predict(inputs, data_samples)
            return self._predict_sliding(inputs, data_samples)
        padded = self._pad_to_grid(inputs)
        batch = self._forward(padded)
        sizes = self._full_size(batch, padded), tuple(inputs.shape[2:])
        for logits, sample in zip(batch, data_samples, strict=True):
            coarse = CoarseLogits(logits, *sizes)
            if _KEEP_LOGITS.get() != 'coarse alone':
                sample.pred_sem_seg = PixelData(data=self._label_map(coarse, sample.metainfo))
            if _KEEP_LOGITS.get() != 'none':
                sample.coarse_logits = coarse
        return data_samples

    def _predict_sliding(self, inputs: Tensor, data_samples: Sequence[SegDataSample]) -> Sequence[SegDataSample]:
        """Label maps of images that are not resized, without logits of more than a row of windows."""
        kind = torch.uint8 if self.multi_label or self.out_channels <= 256 else torch.int16
        maps = self.out_channels if self.multi_label else 1
        labels = inputs.new_empty(len(inputs), maps, *inputs.shape[2:], dtype=kind)
        for top, left, part in self._slide(inputs, [sample.metainfo for sample in data_samples]):
            for logits, sample in zip(part, data_samples, strict=True):
                check_finite(logits, str(sample.metainfo.get('img_path') or 'a picture'))
            best = self.present(part) if self.multi_label else part.argmax(1, keepdim=True)
            labels[..., top : top + part.shape[2], left : left + part.shape[3]] = best
        for label, sample in zip(labels, data_samples, strict=True):
            sample.pred_sem_seg = PixelData(data=_upright(label, sample.metainfo))
        return data_samples

    def present(self, logits: Tensor) -> Tensor:
        """Which classes are predicted, 0 or 1 in bytes: those whose sigmoid is above the head's threshold."""
        threshold: Any = self.decode_head.threshold
        return (logits.float().sigmoid() > threshold).to(torch.uint8)

    def postprocess_result(
        self, seg_logits: Tensor, data_samples: Sequence[SegDataSample] | None = None
    ) -> Sequence[SegDataSample]:
        """As MMSegmentation's: samples with `seg_logits` and `pred_sem_seg`, which may be several labels a pixel."""
        samples = super().postprocess_result(seg_logits, data_samples)
        for sample in samples if self.multi_label else ():
            sample.pred_sem_seg = PixelData(data=self.present(sample.seg_logits.data))
        return samples

    def full_logits(self, coarse: CoarseLogits, meta: Mapping, classes: slice = slice(None)) -> Tensor:
        """Logits (C, H, W) at an image's original size; the same steps as MMSegmentation's `postprocess_result`.

        Args:
            coarse: Of the image.
            meta: The sample's `metainfo`: padding, flip and original size.
            classes: Which of them.
        """
        height, width = coarse.size
        maps = _upright(self._zoom(coarse.data[None, classes], coarse.padded_size)[..., :height, :width], meta)
        if maps.shape[2:] != tuple(meta['ori_shape'][:2]):
            maps = self._zoom(maps, meta['ori_shape'][:2])
        return maps[0]

    def _label_map(self, coarse: CoarseLogits, meta: Mapping) -> Tensor:
        """The best class (1, H, W), or which are present (C, H, W), at the original size, a few at a time."""
        starts = range(0, len(coarse.data), CLASSES_AT_ONCE)
        parts = (self.full_logits(coarse, meta, slice(start, start + CLASSES_AT_ONCE)) for start in starts)
        if self.multi_label:
            return torch.cat([self.present(part) for part in parts])
        best = label = torch.empty(0)
        for start, part in zip(starts, parts, strict=True):
            value, index = part.max(dim=0, keepdim=True)
            index = (index + start).to(torch.uint8 if len(coarse.data) <= 256 else torch.int16)
            if start == 0:
                best, label = value, index
            else:
                label = torch.where(value > best, index, label)
                best = torch.maximum(value, best)
        return label
