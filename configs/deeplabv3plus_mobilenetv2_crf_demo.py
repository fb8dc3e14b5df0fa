# The demo with a CRF that is trained with the network, from scratch. No published figure.
_base_ = [
    '_base_/models/deeplabv3plus_mobilenetv2.py',
    '_base_/datasets/demo.py',
    '_base_/schedules/demo.py',
    '_base_/default_runtime.py',
]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size, test_cfg=dict(size=_base_.crop_size)),
    norm_cfg=dict(momentum=0.1),  # few iterations
    backbone=dict(init_cfg=None),
    decode_head=dict(num_classes=_base_.num_classes),
    crf=dict(iterations=3, learn=True, pos_w=1, bi_w=1, bi_xy_std=20, bi_rgb_std=10),
)
