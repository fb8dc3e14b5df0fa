# The demo: from scratch on generated images. No published figure.
# python tools/train.py configs/deeplabv3_mobilenetv2_demo.py
# One device, batch 8, 800 iterations, 4 minutes on two CPU cores; measured here: docs/results.md.
_base_ = [
    '_base_/models/deeplabv3_mobilenetv2.py',
    '_base_/datasets/demo.py',
    '_base_/schedules/demo.py',
    '_base_/default_runtime.py',
]
model = dict(
    num_classes=_base_.num_classes,
    crop_size=_base_.crop_size,
    norm_cfg=dict(momentum=0.1),
    backbone=dict(init_cfg=None, norm_cfg=dict(momentum=0.1)),
    decode_head=dict(initial_weights='kaiming'),
)
