# The demo: from scratch on generated images, so a narrow ResNet whose batch norm learns. No published figure.
# python tools/train.py configs/deeplabv2_r50_demo.py
# One device, batch 8, 800 iterations, 5 to 10 minutes on two CPU cores; measured here: docs/results.md.
_base_ = [
    '_base_/models/deeplabv2_r101.py',
    '_base_/datasets/demo.py',
    '_base_/schedules/demo.py',
    '_base_/default_runtime.py',
]
model = dict(
    num_classes=_base_.num_classes,
    crop_size=_base_.crop_size,
    frozen_bn=(),
    backbone=dict(depth=50, base_channels=16, init_cfg=None),
)
# No batch norm after ASPP: a small rate keeps it stable.
optim_wrapper = dict(paramwise_cfg=dict(classifier_lr_mult=0.02))
