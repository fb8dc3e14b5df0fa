"""Head of DeepLab v3+: that of v3 as encoder, and a decoder that refines it with low-level features."""

from collections.abc import Sequence

import torch
from mmseg.registry import MODELS
from torch import Tensor, nn

from ...errors import UserError
from ..layers import conv_bn_relu, resize, separable_conv_bn_relu
from .deeplab_v3 import DeepLabV3Head


@MODELS.register_module()
class DeepLabV3PlusHead(DeepLabV3Head):
    """ASPP, resized to the low-level features, concatenated with them, and refined (v3+, section 3.2).

    Concatenation is [encoder, low-level], as in the paper's figure and the TensorFlow release. Logits come at stride
    4, and the loss is on full-size logits.

    Args:
        low_level_channels: Channels of the low-level features.
        low_level_index: Their index among the backbone's feature maps.
        low_level_width: Channels that their 1x1 convolution reduces them to; 48 in the paper (Table 1).
        decoder_channels: Channels of the decoder's convolutions; 256 in the paper (Table 2).
        decoder_kernels: Kernel size of each of the decoder's convolutions; (3, 3) in the paper (Table 2).
        separable_decoder: Whether those are depthwise separable.
        mid_level_index: Index of features between the encoder's and the low-level ones in size, to refine with first
            and in the same way: 1, block2 at stride 8, is "Conv2 and Conv3" of Table 2, which does not name their
            reduced channels (here `low_level_width`). None, the paper's choice, leaves that step out.
        mid_level_channels: Their channels.
        kwargs: See `DeepLabV3Head`.
    """

    needs_low_level = True

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        low_level_channels: int,
        output_stride: int = 16,
        channels: int = 256,
        low_level_index: int = 0,
        low_level_width: int = 48,
        decoder_channels: int = 256,
        decoder_kernels: Sequence[int] = (3, 3),
        separable_decoder: bool = False,
        mid_level_index: int | None = None,
        mid_level_channels: int | None = None,
        **kwargs,
    ):
        super().__init__(
            in_channels, num_classes, output_stride, channels, classifier_channels=decoder_channels, **kwargs
        )
        self.low_level_index = low_level_index
        self.mid_level_index = mid_level_index
        self.separable_decoder = separable_decoder
        if mid_level_index is not None:
            if mid_level_channels is None:
                raise UserError('mid_level_index of DeepLabV3PlusHead needs mid_level_channels outside a DeepLab model')
            self.mid_level = self._reduction(mid_level_channels, low_level_width)
            self.mid_decoder = self._decoder(channels + low_level_width, decoder_channels, decoder_kernels)
            channels = decoder_channels
        self.low_level = self._reduction(low_level_channels, low_level_width)
        self.decoder = self._decoder(channels + low_level_width, decoder_channels, decoder_kernels)

    def _reduction(self, in_channels: int, channels: int) -> nn.Module:
        return conv_bn_relu(in_channels, channels, 1, norm_cfg=self.norm_cfg)

    def _decoder(self, in_channels: int, channels: int, kernels: Sequence[int]) -> nn.Sequential:
        conv = separable_conv_bn_relu if self.separable_decoder else conv_bn_relu
        layers = []
        for kernel in kernels:
            layers.append(conv(in_channels, channels, kernel, norm_cfg=self.norm_cfg))
            in_channels = channels
        return nn.Sequential(*layers)

    def forward(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Map the backbone's features to logits (N, num_classes, H / 4, W / 4)."""
        x = self.encode(inputs)
        if self.mid_level_index is not None:
            x = self._refine(x, self.mid_level(inputs[self.mid_level_index]), self.mid_decoder)
        return self.cls_seg(self._refine(x, self.low_level(inputs[self.low_level_index]), self.decoder))

    def _refine(self, x: Tensor, finer: Tensor, decoder: nn.Module) -> Tensor:
        x = resize(x, finer.shape[2:], self.align_corners)
        return decoder(torch.cat([x, finer], dim=1))
