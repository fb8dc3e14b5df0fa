# No figure published by the paper for ResNet-101 on ADE20K; MMSegmentation measured 45.47 mIoU on val with its own
# head, crop 512 and output stride 8.
# python tools/train.py configs/deeplabv3plus_r101_ade20k.py
# One device, batch 16, 150000 iterations; time and score are not measured here.
_base_ = [
    '_base_/models/deeplabv3plus_r101.py',
    '_base_/datasets/ade20k.py',
    '_base_/schedules/poly_150k.py',
    '_base_/default_runtime.py',
]
model = dict(num_classes=_base_.num_classes, crop_size=_base_.crop_size)
