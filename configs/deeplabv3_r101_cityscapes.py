# v3, section 4.3: Cityscapes val, 77.23 mIoU at output stride 16, 77.82 at 8.
# python tools/train.py configs/deeplabv3_r101_cityscapes.py
# One device, batch 16, 90000 iterations; time and score are not measured here.
_base_ = [
    '_base_/models/deeplabv3_r101.py',
    '_base_/datasets/cityscapes.py',
    '_base_/schedules/poly_90k.py',
    '_base_/default_runtime.py',
]
model = dict(num_classes=_base_.num_classes, crop_size=_base_.crop_size)
