"""What every DeepLab head has in common."""

from collections.abc import Sequence
from typing import Any

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
        multi_label: Whether a pixel has any number of the classes: each is learnt and decided for itself, by a sigmoid,
            as two classes in one channel are; labels are (N, num_classes, H, W) of 0, 1 and `ignore_index`. In a
            `DeepLab` only.
        threshold: Probability from which on a class is predicted, with `multi_label` (0.5) or a single channel.
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
        multi_label: bool = False,
        **kwargs,
    ):
        kwargs.setdefault('dropout_ratio', 0)
        one_channel = multi_label or (kwargs.get('out_channels') or num_classes) == 1
        kwargs.setdefault('loss_decode', dict(type='SegCrossEntropy', use_sigmoid=one_channel))
        kwargs.setdefault('norm_cfg', dict(type='BN'))
        if multi_label:
            kwargs.setdefault('threshold', 0.5)
        _check_channels(num_classes, kwargs.get('out_channels'), kwargs.get('threshold'), multi_label)
        void = kwargs.get('ignore_index', 255)
        if 'ignore_index' in kwargs:
            _check_void(void, num_classes)
        kwargs['loss_decode'] = own_form(kwargs['loss_decode'], void)
        super().__init__(in_channels, channels, num_classes=num_classes, align_corners=align_corners, **kwargs)
        self.output_stride = output_stride
        self.upsample_logits = upsample_logits
        self.multi_label = multi_label
        for loss in self.losses():
            _check_loss(loss, 1 if multi_label else self.out_channels, void, multi_label)
        if self.sampler is not None and one_channel:
            raise UserError(
                'decode_head.sampler compares the classes of a pixel, but the head has one channel '
                f'({"for each class, multi_label=True" if multi_label else "out_channels=1"}): '
                "leave it out, and take loss_decode=dict(type='SegOhemCrossEntropy') instead"
            )

    def losses(self) -> list[nn.Module]:
        """The parts of `loss_decode`."""
        return list(self.loss_decode) if isinstance(self.loss_decode, nn.ModuleList) else [self.loss_decode]

    def selected(self, features: Sequence[Tensor]) -> Tensor:
        """Of a backbone's feature maps the one that `in_index` names."""
        return self._transform_inputs(features)

    def loss_by_feat(self, seg_logits: Tensor, batch_data_samples: Sequence[SegDataSample]) -> dict[str, Tensor]:
        """Loss and accuracy of logits (N, C, h, w) against the labels (1, H, W) or (C, H, W) of the samples."""
        _check_void(self.ignore_index, self.num_classes)
        labels = self._stack_batch_gt(batch_data_samples)
        expected = self.num_classes if self.multi_label else 1
        if labels.shape[1] != expected:
            raise UserError(
                f'the masks have {labels.shape[1]} labels a pixel, but decode_head.multi_label={self.multi_label} with '
                f"{self.num_classes} classes takes {expected}: masks='bands' of an ImageMaskFolder and "
                'multi_label=True belong together'
            )
        if self.upsample_logits:
            seg_logits = resize(seg_logits, labels.shape[2:], self.align_corners)
        else:
            labels = subsample_labels(labels, seg_logits.shape[2:])
        if self.multi_label:  # each class of a picture is one of two classes in one channel
            seg_logits, labels = (maps.flatten(0, 1).unsqueeze(1) for maps in (seg_logits, labels.long()))
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
        binary = logits.shape[1] == 1
        guess = (logits[:, 0].sigmoid() > float(self.threshold or 0)).long() if binary else logits.argmax(dim=1)
        labelled = labels != self.ignore_index
        return 100 * ((guess == labels) & labelled).sum() / batch_mean(labelled.sum().float()).clamp(min=1)

    def predict(self, inputs: Any, batch_img_metas: list[dict], test_cfg: Any) -> Tensor:
        """Logits at the size of the images, as segmentors of MMSegmentation want them, which take the best class.

        Raises:
            UserError: Several labels a pixel, of which those would keep one.
        """
        if self.multi_label:
            raise UserError(
                "decode_head.multi_label=True needs model.type='DeepLab': another segmentor gives each pixel its best "
                'class alone'
            )
        return super().predict(inputs, batch_img_metas, test_cfg)


def _check_loss(loss: nn.Module, channels: int, void: int | None, multi_label: bool) -> None:
    try:
        check_loss(loss, channels, void)
    except UserError as error:
        if not multi_label:
            raise
        raise UserError(
            f'decode_head.multi_label=True computes the loss of each class for itself, in one channel with the labels '
            f'0 and 1, for which this one is not made: {error}'
        ) from error


def _check_void(ignore_index: int | None, num_classes: int) -> None:
    """Check that the label that is left out is none of the classes."""
    if ignore_index is not None and 0 <= ignore_index < num_classes:
        raise UserError(
            f'decode_head.ignore_index={ignore_index} is one of the {num_classes} classes, which would never be '
            f'learned and yet be counted in every score. Leave it at 255, and give pixels without a class that label '
            f'in the masks (reduce_zero_label=True where that is what label 0 means); with more than 255 classes take '
            f'a number that is none of them'
        )


def _check_channels(num_classes: int, out_channels: int | None, threshold: float | None, multi_label: bool) -> None:
    """Check that numbers of classes and channels and the threshold between two classes belong together."""
    if multi_label and (num_classes < 2 or out_channels not in (None, num_classes)):
        raise UserError(
            f'decode_head.multi_label=True has a channel for each of two classes or more: num_classes={num_classes}, '
            f'out_channels={out_channels}. Leave out_channels out; one class alone is two classes, it and background'
        )
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
    if not multi_label and (out_channels or num_classes) != 1:
        raise UserError(
            f'decode_head.threshold={threshold} is for heads of one channel (out_channels=1, two classes) or '
            f'multi_label=True; with '
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
