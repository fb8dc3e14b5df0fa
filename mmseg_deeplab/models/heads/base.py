"""What every DeepLab head has in common."""

from collections.abc import Sequence

import torch
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from ...errors import UserError
from ..layers import resize
from ..losses import check_loss, own_form
from ..losses.base import batch_mean

LABEL_STRIDES = (1, 4, 8, 16, 32)
"""Strides of logits that can be compared with labels without a resize: every, every 4th, 8th, ... pixel is taken."""


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
        kwargs: Further arguments of MMSegmentation's `BaseDecodeHead`. `loss_decode` is `SegCrossEntropy` if not
            stated; one of MMSegmentation's losses is replaced by this package's form of it, see `losses`.
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
        one_channel = (kwargs.get('out_channels') or num_classes) == 1
        kwargs.setdefault('loss_decode', dict(type='SegCrossEntropy', use_sigmoid=one_channel))
        kwargs.setdefault('norm_cfg', dict(type='BN'))
        _check_channels(num_classes, kwargs.get('out_channels'), kwargs.get('threshold'))
        void = kwargs.get('ignore_index', 255)
        if 'ignore_index' in kwargs:
            _check_void(void, num_classes)
        kwargs['loss_decode'] = own_form(kwargs['loss_decode'], void)
        super().__init__(in_channels, channels, num_classes=num_classes, align_corners=align_corners, **kwargs)
        self.output_stride = output_stride
        self.upsample_logits = upsample_logits
        for loss in self.losses():
            check_loss(loss, self.out_channels, void)
        if self.sampler is not None and self.out_channels == 1:
            raise UserError(
                'decode_head.sampler compares the classes of a pixel, but the head has one channel (out_channels=1): '
                "leave it out, and take loss_decode=dict(type='SegOhemCrossEntropy') instead"
            )

    def losses(self) -> list[nn.Module]:
        """The parts of `loss_decode`."""
        return list(self.loss_decode) if isinstance(self.loss_decode, nn.ModuleList) else [self.loss_decode]

    def selected(self, features: Sequence[Tensor]) -> Tensor:
        """Of a backbone's feature maps the one that `in_index` names."""
        return self._transform_inputs(features)

    def loss_by_feat(self, seg_logits: Tensor, batch_data_samples: Sequence[SegDataSample]) -> dict[str, Tensor]:
        """Loss and accuracy of logits (N, C, h, w) against the labels of the samples."""
        _check_void(self.ignore_index, self.num_classes)
        labels = self._stack_batch_gt(batch_data_samples)
        if self.upsample_logits:
            seg_logits = resize(seg_logits, labels.shape[2:], self.align_corners)
        else:
            labels = subsample_labels(labels, seg_logits.shape[2:])
        weight = None if self.sampler is None else self.sampler.sample(seg_logits, labels)
        labels = labels.squeeze(1)
        found: dict[str, Tensor] = {}
        for loss in self.losses():
            value = loss(seg_logits, labels, weight=weight, ignore_index=self.ignore_index)
            name = str(loss.loss_name)
            found[name] = found[name] + value if name in found else value
        found['acc_seg'] = self._accuracy(seg_logits, labels)
        return found

    @torch.no_grad()
    def _accuracy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Percentage of the batch's labelled pixels whose class is the predicted one; 0 where there are none."""
        binary = self.out_channels == 1
        guess = (logits[:, 0].sigmoid() > float(self.threshold or 0)).long() if binary else logits.argmax(dim=1)
        labelled = labels != self.ignore_index
        return 100 * ((guess == labels) & labelled).sum() / batch_mean(labelled.sum().float()).clamp(min=1)


def _check_void(ignore_index: int | None, num_classes: int) -> None:
    """Check that the label that is left out is none of the classes."""
    if ignore_index is not None and 0 <= ignore_index < num_classes:
        raise UserError(
            f'decode_head.ignore_index={ignore_index} is one of the {num_classes} classes, which would never be '
            f'learned and yet be counted in every score. Leave it at 255, and give pixels without a class that label '
            f'in the masks (reduce_zero_label=True where that is what label 0 means); with more than 255 classes take '
            f'a number that is none of them'
        )


def _check_channels(num_classes: int, out_channels: int | None, threshold: float | None) -> None:
    """Check that numbers of classes and channels and the threshold between two classes belong together."""
    if out_channels not in (None, 1, num_classes):
        raise UserError(
            f'decode_head.out_channels={out_channels} with num_classes={num_classes}: leave out_channels out, or set '
            f'it to 1 for two classes in one channel'
        )
    if out_channels == 1 and num_classes > 2:
        raise UserError(
            f'decode_head.out_channels=1 is the score of one class against one other, but num_classes={num_classes}: '
            f'leave out_channels out, or use two classes'
        )
    if threshold is None:
        return
    if (out_channels or num_classes) != 1:
        raise UserError(
            f'decode_head.threshold={threshold} is for heads of one channel (out_channels=1, two classes); with '
            f'{num_classes} channels the best class is taken. Leave threshold out'
        )
    if not 0 < threshold < 1:
        raise UserError(f'decode_head.threshold={threshold} is a probability: choose it between 0 and 1')


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
