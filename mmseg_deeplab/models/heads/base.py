"""What every DeepLab head has in common."""

from collections.abc import Sequence

from mmengine.structures import PixelData
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from ...errors import UserError

LABEL_STRIDES = (4, 8, 16, 32)
"""Strides of logits that can be compared with labels without a resize: every 4th, 8th, ... pixel is taken."""


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
        upsample_logits: Whether the loss is on logits resized to the labels (v3, section 4.1), or on the logits as they
            are, against labels taken at their stride, as in v1 and v2.
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
        upsample_logits: bool = True,
        **kwargs,
    ):
        kwargs.setdefault('dropout_ratio', 0)
        kwargs.setdefault('loss_decode', dict(type='SegCrossEntropy'))
        kwargs.setdefault('norm_cfg', dict(type='BN'))
        super().__init__(in_channels, channels, num_classes=num_classes, align_corners=align_corners, **kwargs)
        self.output_stride = output_stride
        self.upsample_logits = upsample_logits
        for loss in self.loss_decode if isinstance(self.loss_decode, nn.ModuleList) else [self.loss_decode]:
            weight = getattr(loss, 'class_weight', None)
            if weight is not None and len(weight) != self.out_channels:
                raise UserError(
                    f'loss_decode.class_weight has {len(weight)} entries, but there are {self.out_channels} classes'
                )

    def loss_by_feat(self, seg_logits: Tensor, batch_data_samples: Sequence[SegDataSample]) -> dict[str, Tensor]:
        """Loss and accuracy of logits (N, C, h, w) against the labels of the samples."""
        if not self.upsample_logits:
            labels = subsample_labels(self._stack_batch_gt(batch_data_samples), seg_logits.shape[2:])
            batch_data_samples = [SegDataSample(gt_sem_seg=PixelData(data=label)) for label in labels]
        return super().loss_by_feat(seg_logits, batch_data_samples)


def subsample_labels(labels: Tensor, size: Sequence[int]) -> Tensor:
    """Take every 8th label of (..., H, W), from the first row and column on, to get (..., *size); or 4th, 16th, 32nd.

    Raises:
        ValueError: If none gives that size.
    """
    for stride in LABEL_STRIDES:
        sampled = labels[..., ::stride, ::stride]
        if sampled.shape[-2:] == tuple(size):
            return sampled
    height, width = labels.shape[-2:]
    raise UserError(
        f'logits of {size[0]} x {size[1]} cells do not lie on every 8th pixel of labels of {height} x {width} (or 4th, '
        f'16th, 32nd), where a head with upsample_logits=False, as those of v1 and v2, computes its loss. Use a '
        f'crop_size with sides of 8k + 1 pixels (16k + 1 with multi_scale_inputs or at output stride 16), for example '
        f'321, and the same size in the data preprocessor'
    )
