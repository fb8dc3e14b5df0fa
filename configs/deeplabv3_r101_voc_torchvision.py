# The network of torchvision's deeplabv3_resnet101: its ResNet-101 (7x7 stem, stride in a block's first unit), rates 12,
# 24, 36 at output stride 8, no multi-grid, a 3x3 convolution before the classifier. 67.4 mIoU on VOC's classes of COCO
# val, by its table.
# python tools/train.py configs/deeplabv3_r101_voc_torchvision.py
# One device, batch 16, 30000 iterations; time and score are not measured here.
_base_ = [
    '_base_/models/deeplabv3_r101_torchvision.py',
    '_base_/datasets/voc12_aug.py',
    '_base_/schedules/poly_30k.py',
    '_base_/default_runtime.py',
]
model = dict(
    num_classes=_base_.num_classes,
    crop_size=_base_.crop_size,
    output_stride=8,
    data_preprocessor=dict(test_cfg=None),  # torchvision does not pad images
    backbone=dict(multi_grid=None),
    decode_head=dict(extra_convs=1, aspp_dropout=0.5, align_corners=False),
)
