# No figure published by the paper for ResNet-101 on Cityscapes; MMSegmentation measured 79.46 mIoU on val with its own
# head, crop 769 and output stride 8.
# python tools/train.py configs/deeplabv3plus_r101_cityscapes.py
# One device, batch 16, 90000 iterations; time and score are not measured here.
_base_ = [
    '_base_/models/deeplabv3plus_r101.py',
    '_base_/datasets/cityscapes.py',
    '_base_/schedules/poly_90k.py',
    '_base_/default_runtime.py',
]
model = dict(num_classes=_base_.num_classes, crop_size=_base_.crop_size)
