# The demo: from scratch on generated images. No published figure.
_base_ = [
    '_base_/models/deeplabv3_mobilenetv2.py',
    '_base_/datasets/demo.py',
    '_base_/schedules/demo.py',
    '_base_/default_runtime.py',
]
model = dict(
    norm_cfg=dict(momentum=0.1),
    backbone=dict(init_cfg=None),
    data_preprocessor=dict(size=_base_.crop_size, test_cfg=dict(size=_base_.crop_size)),
    decode_head=dict(num_classes=_base_.num_classes),
)
