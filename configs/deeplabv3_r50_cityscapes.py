# No figure published by the paper for ResNet-50 on Cityscapes; MMSegmentation measured 78.58 mIoU on val with its own
# head, crop 769 and output stride 8.
# python tools/train.py configs/deeplabv3_r50_cityscapes.py
# One device, batch 16, 90000 iterations; time and score are not measured here.
_base_ = [
    '_base_/models/deeplabv3_r50.py',
    '_base_/datasets/cityscapes.py',
    '_base_/schedules/poly_90k.py',
    '_base_/default_runtime.py',
]
model = dict(num_classes=_base_.num_classes, crop_size=_base_.crop_size)
