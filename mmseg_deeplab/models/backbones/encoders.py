"""Encoders of other libraries, at any output stride that they can be made dense for."""

import difflib
import importlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...errors import UserError, UserImportError
from ..dense import cover, make_dense, measure, stride_of
from .base import DeepLabBackbone, is_pretrained

NORM_SETTINGS = {'type', 'momentum', 'eps', 'requires_grad'}


class ForeignEncoder(DeepLabBackbone):
    """A network that others define; its feature maps, their channels and strides are found by running it once.

    Of several maps at one stride, as a network has them that was made dense, all are given.

    Args:
        net: The network, which gives feature maps (N, C, h, w), finest first.
        name: For errors.
        output_stride: 8, 16 or 32; no more than the network's own.
        norm_cfg: Settings of its batch norm, if it has any; its kind stays what it is.
    """

    def __init__(
        self, net: nn.Module, name: str, output_stride: int, in_channels: int, norm_cfg: dict | None, init_cfg: Any
    ):
        super().__init__(in_channels, init_cfg)
        self.keeps_own_start = init_cfg is None
        self.net = net
        nominal, side = measure(net, self._run, in_channels)
        self.feature_channels = tuple(maps.shape[1] for maps in nominal)
        strides = [stride_of(side, maps) for maps in nominal]
        if strides[-1] != output_stride:
            make_dense(net, self._run, in_channels, output_stride, name)
        self.strides = tuple(min(stride, output_stride) for stride in strides)
        self.low_level_index = next((i for i, stride in enumerate(self.strides) if stride >= 4), 0)
        self._set_batch_norm(name, norm_cfg or {})

    def _run(self, net: nn.Module, images: Tensor) -> Sequence[Tensor]:
        return net(images)

    def _set_batch_norm(self, name: str, norm_cfg: Mapping) -> None:
        layers = [module for module in self.net.modules() if isinstance(module, _BatchNorm)]
        kind, unknown = norm_cfg.get('type', 'BN'), sorted(set(norm_cfg) - NORM_SETTINGS)
        if layers and (kind not in ('BN', 'SyncBN', 'BN2d') or unknown):
            raise UserError(
                f'{name} has batch norm of its own, of which norm_cfg sets momentum, eps and requires_grad; '
                f'norm_cfg={dict(norm_cfg)} asks for more. Give it norm_cfg=dict(type="BN") and state the other one in '
                f'the head'
            )
        for layer in layers:
            layer.momentum = norm_cfg.get('momentum', layer.momentum)
            layer.eps = norm_cfg.get('eps', layer.eps)
            if 'requires_grad' in norm_cfg:
                layer.requires_grad_(norm_cfg['requires_grad'])

    def init_weights(self) -> None:
        """Initialise from a pretrained file, or leave the network as its library starts it."""
        if is_pretrained(self.init_cfg) or not self.keeps_own_start:
            super().init_weights()
        self.is_init = True

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map images (N, in_channels, H, W) to the network's feature maps."""
        return cover(self._run(self.net, x), self.strides)


@MODELS.register_module()
class TimmEncoder(ForeignEncoder):
    """Any encoder of timm, the PyTorch image models (`pip install 'mmseg_deeplab[timm]'`).

    A network of convolutions is made dense for `output_stride` by the rule of `atrous`, which is proven when it is
    built: with random weights, its dense features, subsampled, are its own. One that can't be is refused with the part
    that can't. Transformers go at their own stride, 32 of a Swin, 16 of a ViT.

    Batch norm is the encoder's own; across processes its statistics are those of each, also with `SyncBN`.

    Args:
        name: As timm.list_models() has it.
        output_stride: 8, 16 or 32; of a transformer its own.
        model_args: Further arguments of the encoder, such as dict(drop_path_rate=0.1).
        norm_cfg: Momentum and eps of its batch norm, if it has any.
        in_channels: Bands of the images, see `DeepLabBackbone`.
        init_cfg: None leaves it as timm starts it; dict(type='Pretrained', checkpoint=FILE) takes timm's weights from
            a .safetensors, .pth or .bin file.

    Raises:
        UserError: If there is no such encoder, or none of that output stride.
        UserImportError: If timm is not installed.
    """

    def __init__(
        self,
        name: str,
        output_stride: int = 16,
        model_args: Mapping | None = None,
        norm_cfg: dict | None = None,
        in_channels: int = 3,
        init_cfg: dict | list[dict] | None = None,
    ):
        self.name = name
        net = create(name, in_channels, model_args or {})
        super().__init__(net, f'TimmEncoder {name}', output_stride, in_channels, norm_cfg, init_cfg)

    @cached_property
    def classifier_prefixes(self) -> tuple[str, ...]:
        """Names of what timm's classification network has besides."""
        with torch.device('meta'):
            whole = import_timm().create_model(self.name)
        return tuple(set(whole.state_dict()) - set(self.named_as_in_files().state_dict()))

    def named_as_in_files(self) -> nn.Module:
        """The encoder within timm's wrapper."""
        return getattr(self.net, 'model', self.net)


def import_timm() -> Any:
    """The package timm."""
    try:
        timm: Any = importlib.import_module('timm')
    except ImportError as error:
        raise UserImportError(
            f"TimmEncoder needs the package timm, which can't be imported ({error}): pip install 'mmseg_deeplab[timm]'"
        ) from error
    return timm


def create(name: str, in_channels: int, model_args: Mapping) -> nn.Module:
    """timm's encoder of that name, which gives feature maps (N, C, h, w) of images of any size."""
    timm = import_timm()
    if name not in timm.list_models():
        near = difflib.get_close_matches(name, timm.list_models(), 3)
        raise UserError(f'timm {timm.__version__} has no encoder {name!r}' + (f'; near are {near}' if near else ''))
    any_size = (dict(dynamic_img_size=True, dynamic_img_pad=True), dict(strict_img_size=False), {})
    failure: Exception | None = None
    for getter in (dict(feature_cls='getter'), {}):
        for free in any_size:
            try:
                net = timm.create_model(name, in_chans=in_channels, features_only=True, **getter, **free, **model_args)
            except (TypeError, RuntimeError, AttributeError) as error:
                failure = failure or error
                continue
            for module in net.modules():
                if hasattr(module, 'dynamic_img_pad'):  # a Swin would refuse sides that are no multiple of 4
                    module.dynamic_img_pad = True
            return net
    raise UserError(f'timm can not make {name} with {dict(model_args)} give feature maps: {failure}') from failure


@MODELS.register_module()
class MMSegEncoder(ForeignEncoder):
    """A backbone of MMSegmentation, whose channels and strides need not be stated.

    It is made dense as `TimmEncoder` is; transformers go at their own stride.

    Args:
        encoder: Config of the backbone, with its own `init_cfg` and, for images of other than three bands, its own
            argument for them.
        output_stride: 8, 16 or 32.
        norm_cfg: Momentum and eps of its batch norm; its kind is stated in `encoder`.
        in_channels: Bands of the images.

    Raises:
        UserError: If it can't have that output stride.
    """

    def __init__(self, encoder: dict, output_stride: int = 16, norm_cfg: dict | None = None, in_channels: int = 3):
        net = MODELS.build(encoder)
        super().__init__(net, f'MMSegEncoder {encoder["type"]}', output_stride, in_channels, norm_cfg, None)

    def init_weights(self) -> None:
        """As the backbone's own `init_cfg` has it."""
        if isinstance(self.net, BaseModule):
            self.net.init_weights()
        self.is_init = True
