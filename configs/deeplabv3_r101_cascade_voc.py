# v3, Tables 3 and 4: cascade up to block7 on VOC 2012 val, 76.66 mIoU at output stride 16, 78.05 at 8.
# python tools/train.py configs/deeplabv3_r101_cascade_voc.py
# One device, batch 16, 30000 iterations; time and score are not measured here.
_base_ = [
    '_base_/models/deeplabv3_r101_cascade.py',
    '_base_/datasets/voc12_aug.py',
    '_base_/schedules/poly_30k.py',
    '_base_/default_runtime.py',
]
model = dict(num_classes=_base_.num_classes, crop_size=_base_.crop_size)
