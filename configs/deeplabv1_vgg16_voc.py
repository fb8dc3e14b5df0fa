# v1, Table 1: LargeFOV on VOC 2012 val, 62.25 mIoU, 67.64 after the CRF.
# python tools/train.py configs/deeplabv1_vgg16_voc.py
# One device, batch 30, 6000 iterations; time and score are not measured here.
_base_ = [
    '_base_/models/deeplabv1_vgg16.py',
    '_base_/datasets/voc12_aug_v1.py',
    '_base_/schedules/step_6k.py',
    '_base_/default_runtime.py',
]
model = dict(
    num_classes=_base_.num_classes,
    crop_size=_base_.crop_size,
    data_preprocessor=dict(test_cfg=dict(size=(513, 513))),
)
