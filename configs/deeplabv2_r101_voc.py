# v2, table of ResNet-101 components on VOC 2012 val: ASPP, 76.35 mIoU, 77.69 after the CRF; 79.7 on test.
# Those start from COCO: kazuto's deeplabv1_resnet101-coco.pth, converted: --cfg-options
# model.backbone.init_cfg.checkpoint=FILE model.backbone.init_cfg.prefix=backbone
# python tools/train.py configs/deeplabv2_r101_voc.py
# One device, batch 10, 20000 iterations; time and score are not measured here.
_base_ = [
    '_base_/models/deeplabv2_r101.py',
    '_base_/datasets/voc12_aug_v2.py',
    '_base_/schedules/poly_20k.py',
    '_base_/default_runtime.py',
]
model = dict(
    num_classes=_base_.num_classes,
    crop_size=_base_.crop_size,
    data_preprocessor=dict(test_cfg=dict(size=(513, 513))),
)
