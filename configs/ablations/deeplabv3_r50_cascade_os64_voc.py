# v3, Table 1: ResNet-50 up to block7, output stride 64, 59.99 mIoU on VOC 2012 val.
_base_ = '../deeplabv3_r101_cascade_voc.py'
model = dict(
    output_stride=64,
    backbone=dict(depth=50, multi_grid=(1, 1, 1), init_cfg=dict(checkpoint='torchvision://resnet50')),
)
