"""Classes work as `type` wherever names do, and a model needs no default scope, in a script of its own."""

import subprocess
import sys

import pytest
import torch
from mmengine.model import PretrainedInit
from mmengine.optim import OptimWrapper
from mmengine.structures import PixelData
from mmseg.models import SegDataPreProcessor
from mmseg.models.backbones import ResNetV1c
from mmseg.models.decode_heads import FCNHead
from mmseg.models.losses import DiceLoss
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn

from mmseg_deeplab.models import (
    AlignedXception,
    DeepLab,
    DeepLabMobileNetV2,
    DeepLabResNet,
    DeepLabTTA,
    DeepLabV1Head,
    DeepLabV1MScHead,
    DeepLabV2Head,
    DeepLabV3CascadeHead,
    DeepLabV3Head,
    DeepLabV3PlusHead,
    DeepLabVGG,
    SegCrossEntropy,
)

V3PLUS = dict(type=DeepLabV3PlusHead, channels=8, decoder_channels=8, num_classes=3)


@pytest.mark.parametrize(
    ('backbone', 'head', 'output_stride'),
    [
        (dict(type=DeepLabVGG), dict(type=DeepLabV1Head), 8),
        (dict(type=DeepLabVGG), dict(type=DeepLabV1MScHead), 8),
        (dict(type=DeepLabResNet, depth=50, base_channels=4), dict(type=DeepLabV2Head), 8),
        (dict(type=DeepLabResNet, depth=50, base_channels=4), dict(type=DeepLabV3CascadeHead), 16),
        (dict(type=DeepLabMobileNetV2, width=0.25), dict(type=DeepLabV3Head, channels=8), 16),
        (dict(type=AlignedXception, depth=41), V3PLUS, 16),
    ],
    ids=lambda value: value['type'].__name__ if isinstance(value, dict) else None,
)
def test_classes_make_the_same_network_as_names(backbone, head, output_stride):
    def built(kind):
        parts = (
            dict(part, type=kind(part['type']), **extra)
            for part, extra in ((backbone, {}), (head, dict(num_classes=3)))
        )
        with torch.device('meta'):
            return MODELS.build(
                dict(
                    zip(('backbone', 'decode_head'), parts, strict=True),
                    type=kind(DeepLab),
                    output_stride=output_stride,
                )
            )

    by_class, by_name = built(lambda c: c), built(lambda c: c.__name__)
    assert str(by_class) == str(by_name)


def test_every_part_of_a_model_takes_a_class():
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type=DeepLab,
            norm_cfg=dict(type=nn.BatchNorm2d, momentum=0.02),
            data_preprocessor=dict(type=SegDataPreProcessor, mean=[127.5] * 3, std=[127.5] * 3, size=(65, 65)),
            backbone=dict(type=DeepLabMobileNetV2, width=0.25),
            decode_head=dict(
                V3PLUS, separable_aspp=True, loss_decode=[dict(type=SegCrossEntropy), dict(type=DiceLoss)]
            ),
            auxiliary_head=dict(
                type=FCNHead,
                in_channels=24,
                in_index=2,
                channels=8,
                num_classes=3,
                norm_cfg=dict(type=nn.BatchNorm2d),
                loss_decode=dict(type=SegCrossEntropy),
            ),
        )
    ).train()
    assert {
        m.momentum for part in (model.backbone, model.decode_head) for m in part.modules() if hasattr(m, 'momentum')
    } == {0.02}
    samples = [SegDataSample(gt_sem_seg=PixelData(data=torch.randint(3, (1, 65, 65)))) for _ in range(2)]
    batch = dict(inputs=[torch.randint(256, (3, 65, 65), dtype=torch.uint8) for _ in range(2)], data_samples=samples)
    logged = model.train_step(batch, OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01)))
    assert {'decode.loss_ce', 'decode.loss_dice', 'aux.loss_ce'} < logged.keys()
    assert logged['loss'].isfinite()


def test_a_backbone_of_another_kind_is_named():
    with pytest.raises(ValueError, match='ResNetV1c has no output_stride.*to put this one under DeepLabV3PlusHead'):
        MODELS.build(dict(type=DeepLab, backbone=dict(type=ResNetV1c, depth=18), decode_head=V3PLUS))


def test_pretrained_by_class_is_as_strict_as_by_name(tmp_path):
    torch.save({'layer.weight': torch.zeros(1)}, tmp_path / 'other.pth')
    for part in (
        DeepLabMobileNetV2(init_cfg=dict(type=PretrainedInit, checkpoint=str(tmp_path / 'other.pth'))),
        DeepLabV1Head(4, 3, init_cfg=dict(type=PretrainedInit, checkpoint=str(tmp_path / 'other.pth'))),
    ):
        with pytest.raises(ValueError, match='other.pth'):
            part.init_weights()


SCRIPT = """
import torch
import mmseg_deeplab.plugin
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

model = dict(
    type='DeepLab',
    norm_cfg=dict(type='BN', eps=1e-3),
    data_preprocessor=dict(type='SegDataPreProcessor', mean=[127.5] * 3, std=[127.5] * 3),
    backbone=dict(type='DeepLabMobileNetV2', width=0.25, padding='tensorflow'),
    decode_head=dict(type='DeepLabV3PlusHead', channels=8, decoder_channels=8, num_classes=3, separable_aspp=True),
)
network = MODELS.build(model)
network.init_weights()
meta = dict(img_shape=(65, 65), ori_shape=(65, 65), pad_shape=(65, 65))
batch = dict(inputs=[torch.zeros(3, 65, 65, dtype=torch.uint8)], data_samples=[SegDataSample(metainfo=meta)])
label = network.eval().test_step(batch)[0].pred_sem_seg.data
tta = MODELS.build(dict(type='DeepLabTTA', module=model)).eval()
merged = tta.test_step(dict(inputs=[batch['inputs']] * 2, data_samples=[batch['data_samples']] * 2))
print(tuple(label.shape), tuple(merged[0].pred_sem_seg.shape))
"""


def test_a_fresh_script_needs_no_default_scope():
    done = subprocess.run([sys.executable, '-c', SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == '(1, 65, 65) (65, 65)'
    assert issubclass(MODELS.get('DeepLabTTA'), DeepLabTTA)
