# v2, table of ResNet-101 components on VOC 2012 val: ASPP, 76.35 mIoU, 77.69 after the CRF; 79.7 on test.
# Those start from COCO: kazuto's deeplabv1_resnet101-coco.pth, converted: --cfg-options
# model.backbone.init_cfg.checkpoint=FILE model.backbone.init_cfg.prefix=backbone
_base_ = [
    '_base_/models/deeplabv2_r101.py',
    '_base_/datasets/voc12_aug_v2.py',
    '_base_/schedules/poly_20k.py',
    '_base_/default_runtime.py',
]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size, test_cfg=dict(size=(513, 513))),
    decode_head=dict(num_classes=_base_.num_classes),
)
