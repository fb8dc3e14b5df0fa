"""Heads of DeepLab v3: atrous spatial pyramid pooling, or a plain classifier on the cascade."""

from collections.abc import Sequence

from mmseg.registry import MODELS
from torch import Tensor, nn

from ...errors import UserError
from ..atrous import aspp_rates
from ..layers import ASPP, conv_bn_relu, draw_as_the_release, draw_truncated
from .base import DeepLabHead

INITIAL_WEIGHTS = ('release', 'kaiming')


@MODELS.register_module()
class DeepLabV3Head(DeepLabHead):
    """ASPP with image pooling and a 1x1 classifier; the loss is on full-size logits (v3, section 3.3).

    Args:
        rates: ASPP rates, stated at output stride 16 and scaled with 16 / output_stride; (6, 12, 18) in the paper,
            () leaves only the 1x1 convolution and image pooling, as in the released MobileNetV2 models.
        pool_bins: Grid sizes of the pooled branches, see `ASPP`.
        separable_aspp: Whether the 3x3 convolutions of ASPP are depthwise separable (v3+).
        aspp_dropout: Dropout after the projection of ASPP.
        extra_convs: 3x3 convolutions between ASPP and the classifier; 0 in the paper, 1 in torchvision.
        initial_weights: 'release', how the TensorFlow release draws the weights of ASPP, decoder and classifier (see
            `draw_as_the_release`), which suits the papers' 30000 iterations and more. 'kaiming', mmcv's, for short
            trainings: plain convolutions start about three times as large, depthwise ones a tenth as large, so that
            under batch norm those learn a hundred times as fast (measured: docs/results.md). An `init_cfg` of the
            head's own is in place of both.
        serial_rates: Rates of one more branch of ASPP, in series and in cells at any output stride, see `ASPP`.
        non_local: Whether ASPP has a non-local branch, see `ASPP`.
        classifier_channels: Channels that the classifier takes, where they are not those of ASPP: behind v3+'s decoder.
        kwargs: See `DeepLabHead`.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        output_stride: int = 16,
        channels: int = 256,
        rates: Sequence[int] = (6, 12, 18),
        pool_bins: Sequence[int] = (1,),
        separable_aspp: bool = False,
        aspp_dropout: float = 0.1,
        extra_convs: int = 0,
        initial_weights: str = 'release',
        serial_rates: Sequence[int] = (),
        non_local: bool = False,
        classifier_channels: int | None = None,
        **kwargs,
    ):
        if initial_weights not in INITIAL_WEIGHTS:
            raise UserError(f'initial_weights={initial_weights!r} is unknown; choose one of {INITIAL_WEIGHTS}')
        super().__init__(in_channels, num_classes, output_stride, classifier_channels or channels, **kwargs)
        self.as_the_release = initial_weights == 'release' and kwargs.get('init_cfg') is None
        self.rates = aspp_rates(rates, output_stride)
        self.aspp = ASPP(
            in_channels,
            channels,
            self.rates,
            pool_bins,
            separable_aspp,
            aspp_dropout,
            self.norm_cfg,
            self.align_corners,
            serial_rates,
            non_local,
        )
        self.extra = nn.Sequential(
            *(conv_bn_relu(channels, channels, 3, norm_cfg=self.norm_cfg) for _ in range(extra_convs))
        )

    def init_weights(self) -> None:
        """Initialise as `initial_weights` says."""
        first = not self.is_init
        super().init_weights()
        if first and self.as_the_release:
            draw_as_the_release(self)
            draw_truncated(self.conv_seg.weight, 0.01)

    def encode(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Map the backbone's features to (N, channels, H / output_stride, W / output_stride)."""
        return self.extra(self.aspp(self.selected(inputs)))

    def forward(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Map the backbone's features to logits (N, num_classes, H / output_stride, W / output_stride)."""
        return self.cls_seg(self.encode(inputs))


@MODELS.register_module()
class DeepLabV3CascadeHead(DeepLabHead):
    """A 1x1 classifier on the last block of the cascade (v3, section 3.2).

    The cascade itself, block5 to block7, is part of `DeepLabResNet` (`num_blocks`).
    """

    def __init__(self, in_channels: int, num_classes: int, output_stride: int = 16, **kwargs):
        super().__init__(in_channels, num_classes, output_stride, channels=in_channels, **kwargs)

    def forward(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Map the backbone's features to logits (N, num_classes, H / output_stride, W / output_stride)."""
        return self.cls_seg(self.selected(inputs))
