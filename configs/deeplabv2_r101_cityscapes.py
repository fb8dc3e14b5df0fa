# v2, Cityscapes val: ResNet-101, ASPP, augmentation, 71.0 mIoU, 71.4 after the CRF; 70.4 on test.
# python tools/train.py configs/deeplabv2_r101_cityscapes.py
# One device, batch 10, 20000 iterations; time and score are not measured here.
_base_ = [
    '_base_/models/deeplabv2_r101.py',
    '_base_/datasets/cityscapes_v2.py',
    '_base_/schedules/poly_20k.py',
    '_base_/default_runtime.py',
]
model = dict(
    num_classes=_base_.num_classes,
    crop_size=_base_.crop_size,
    multi_scale_inputs=(1.0,),
    test_cfg=dict(mode='slide', crop_size=(513, 513), stride=(341, 341)),  # overlap as in v2, sizes are ours
)
