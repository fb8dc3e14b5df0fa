# v3, Tables 1 and 2: ResNet-50 up to block7, output stride 16, 73.88 mIoU on VOC 2012 val.
_base_ = '../deeplabv3_r101_cascade_voc.py'
model = dict(
    backbone=dict(depth=50, multi_grid=(1, 1, 1), init_cfg=dict(checkpoint='torchvision://resnet50')),
)
