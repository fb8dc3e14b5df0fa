# The demo: from scratch on generated images, so a narrow ResNet whose batch norm learns. No published figure.
_base_ = [
    '_base_/models/deeplabv2_r101.py',
    '_base_/datasets/demo.py',
    '_base_/schedules/demo.py',
    '_base_/default_runtime.py',
]
model = dict(
    frozen_bn=(),
    data_preprocessor=dict(size=_base_.crop_size, test_cfg=dict(size=_base_.crop_size)),
    backbone=dict(depth=50, base_channels=16, init_cfg=None),
    decode_head=dict(num_classes=_base_.num_classes),
)
# No batch norm after ASPP: a small rate keeps it stable.
optim_wrapper = dict(paramwise_cfg=dict(classifier_lr_mult=0.02))
