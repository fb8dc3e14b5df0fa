# v2, PASCAL-Person-Part: ResNet-101, COCO, plain classifier, 64.40 mIoU, 64.94 after the CRF (ASPP: 62.76).
# From COCO as deeplabv2_r101_voc.py.
# python tools/train.py configs/deeplabv2_r101_person_part.py
# One device, batch 10, 20000 iterations; time and score are not measured here.
_base_ = [
    '_base_/models/deeplabv2_r101.py',
    '_base_/datasets/person_part.py',
    '_base_/schedules/poly_20k.py',
    '_base_/default_runtime.py',
]
model = dict(
    num_classes=_base_.num_classes,
    crop_size=_base_.crop_size,
    data_preprocessor=dict(test_cfg=dict(size=(513, 513))),
    decode_head=dict(rates=()),
)
