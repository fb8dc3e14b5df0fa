"""What every DeepLab head has in common."""

from mmseg.models.decode_heads.decode_head import BaseDecodeHead


class DeepLabHead(BaseDecodeHead):
    """A decode head whose atrous rates follow from `output_stride`.

    In a `DeepLab` segmentor, `output_stride`, `norm_cfg`, `in_channels` and `low_level_channels` are filled in from the
    segmentor and its backbone; under another segmentor they are given in the config. Logits come at the stride of the
    head's features; `align_corners=True` is what the Caffe and the TensorFlow releases resize with.

    Args:
        in_channels: Channels of the feature map that `in_index` selects, the coarsest by default.
        num_classes: Number of classes, without the ignored label.
        output_stride: Output stride of the backbone.
        channels: Width of the head.
        align_corners: Whether resizes put corners on corners.
        kwargs: Further arguments of MMSegmentation's `BaseDecodeHead`.
    """

    needs_low_level = False
    """Whether the head takes `low_level_channels` and `low_level_index`."""
    needs_taps = False
    """Whether the head takes `tap_channels`, those of all feature maps but the last."""
    classifier_names: tuple[str, ...] = ('conv_seg',)
    """The modules that make scores of features, for the learning rate of `DeepLabOptimWrapperConstructor`."""

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        output_stride: int = 16,
        channels: int = 256,
        align_corners: bool = True,
        **kwargs,
    ):
        kwargs.setdefault('dropout_ratio', 0)
        kwargs.setdefault('loss_decode', dict(type='SegCrossEntropy'))
        kwargs.setdefault('norm_cfg', dict(type='BN'))
        super().__init__(in_channels, channels, num_classes=num_classes, align_corners=align_corners, **kwargs)
        self.output_stride = output_stride
