# TensorFlow release, model zoo: Xception-65 on ADE20K val, 45.65 mIoU at output stride 8 with scales and flips.
# python tools/train.py configs/deeplabv3plus_xception65_ade20k.py
# One device, batch 16, 150000 iterations; time and score are not measured here.
_base_ = [
    '_base_/models/deeplabv3plus_xception65.py',
    '_base_/datasets/ade20k.py',
    '_base_/schedules/poly_150k.py',
    '_base_/default_runtime.py',
]
model = dict(num_classes=_base_.num_classes, crop_size=_base_.crop_size)
optim_wrapper = dict(optimizer=dict(weight_decay=4e-5))  # TensorFlow release, for Xception
