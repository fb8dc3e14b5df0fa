# v3, Table 6: ResNet-101 with ASPP on VOC 2012 val, 77.21 mIoU at output stride 16, 78.51 at 8.
# python tools/train.py configs/deeplabv3_r101_voc.py
# One device, batch 16, 30000 iterations; time and score are not measured here.
_base_ = [
    '_base_/models/deeplabv3_r101.py',
    '_base_/datasets/voc12_aug.py',
    '_base_/schedules/poly_30k.py',
    '_base_/default_runtime.py',
]
model = dict(num_classes=_base_.num_classes, crop_size=_base_.crop_size)
