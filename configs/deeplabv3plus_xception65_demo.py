# The demo: from scratch on generated images. No published figure.
# python tools/train.py configs/deeplabv3plus_xception65_demo.py
# One device, batch 8, 800 iterations; time and score are not measured here.
_base_ = [
    '_base_/models/deeplabv3plus_xception65.py',
    '_base_/datasets/demo.py',
    '_base_/schedules/demo.py',
    '_base_/default_runtime.py',
]
model = dict(
    num_classes=_base_.num_classes,
    crop_size=_base_.crop_size,
    norm_cfg=dict(momentum=0.1),
    backbone=dict(init_cfg=None),
    decode_head=dict(initial_weights='kaiming'),
)
