# No figure published by the paper for ResNet-50 with ASPP on VOC 2012; MMSegmentation measured 76.17 mIoU on val
# with its own head at output stride 8.
# python tools/train.py configs/deeplabv3_r50_voc.py
# One device, batch 16, 30000 iterations; time and score are not measured here.
_base_ = [
    '_base_/models/deeplabv3_r50.py',
    '_base_/datasets/voc12_aug.py',
    '_base_/schedules/poly_30k.py',
    '_base_/default_runtime.py',
]
model = dict(num_classes=_base_.num_classes, crop_size=_base_.crop_size)
