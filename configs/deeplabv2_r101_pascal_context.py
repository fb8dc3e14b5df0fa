# v2, PASCAL-Context val: ResNet-101, COCO, ASPP, 44.7 mIoU, 45.7 after the CRF; from COCO as deeplabv2_r101_voc.py.
# python tools/train.py configs/deeplabv2_r101_pascal_context.py
# One device, batch 10, 20000 iterations; time and score are not measured here.
_base_ = [
    '_base_/models/deeplabv2_r101.py',
    '_base_/datasets/pascal_context.py',
    '_base_/schedules/poly_20k.py',
    '_base_/default_runtime.py',
]
model = dict(
    num_classes=_base_.num_classes,
    crop_size=_base_.crop_size,
    data_preprocessor=dict(test_cfg=dict(size=(513, 513))),
)
