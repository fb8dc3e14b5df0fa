# v3+, Table 7: Xception-65 with decoder on Cityscapes val, 78.79 mIoU.
# python tools/train.py configs/deeplabv3plus_xception65_cityscapes.py
# One device, batch 16, 90000 iterations; time and score are not measured here.
_base_ = [
    '_base_/models/deeplabv3plus_xception65.py',
    '_base_/datasets/cityscapes.py',
    '_base_/schedules/poly_90k.py',
    '_base_/default_runtime.py',
]
model = dict(num_classes=_base_.num_classes, crop_size=_base_.crop_size)
optim_wrapper = dict(optimizer=dict(weight_decay=4e-5))  # TensorFlow release, for Xception
