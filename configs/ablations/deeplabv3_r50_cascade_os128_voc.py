# v3, Table 1: ResNet-50 up to block7, output stride 128, 42.34 mIoU on VOC 2012 val.
# python tools/train.py configs/ablations/deeplabv3_r50_cascade_os128_voc.py
# One device, batch 16, 30000 iterations; time and score are not measured here.
_base_ = '../deeplabv3_r101_cascade_voc.py'
model = dict(
    output_stride=128,
    backbone=dict(depth=50, multi_grid=(1, 1, 1), init_cfg=dict(checkpoint='pretrained/resnet_v1_50_beta.pth')),
)
