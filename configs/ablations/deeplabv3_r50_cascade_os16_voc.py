# v3, Tables 1 and 2: ResNet-50 up to block7, output stride 16, 73.88 mIoU on VOC 2012 val.
# python tools/train.py configs/ablations/deeplabv3_r50_cascade_os16_voc.py
# One device, batch 16, 30000 iterations; time and score are not measured here.
_base_ = '../deeplabv3_r101_cascade_voc.py'
model = dict(
    backbone=dict(depth=50, multi_grid=(1, 1, 1), init_cfg=dict(checkpoint='pretrained/resnet_v1_50_beta.pth')),
)
