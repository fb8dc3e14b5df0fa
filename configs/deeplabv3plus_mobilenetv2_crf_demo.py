# The demo with a CRF that is trained with the network, from scratch. No published figure.
# python tools/train.py configs/deeplabv3plus_mobilenetv2_crf_demo.py
# One device, batch 8, 800 iterations; time and score are not measured here.
_base_ = [
    '_base_/models/deeplabv3plus_mobilenetv2.py',
    '_base_/datasets/demo.py',
    '_base_/schedules/demo.py',
    '_base_/default_runtime.py',
]
model = dict(
    num_classes=_base_.num_classes,
    crop_size=_base_.crop_size,
    norm_cfg=dict(momentum=0.1),  # few iterations
    backbone=dict(init_cfg=None),
    crf=dict(iterations=3, learn=True, pos_w=1, bi_w=1, bi_xy_std=20, bi_rgb_std=10),
)
