# DeepLab v3 with ResNet-50, otherwise as with ResNet-101.
_base_ = './deeplabv3_r101.py'
model = dict(backbone=dict(depth=50, init_cfg=dict(checkpoint='pretrained/resnet_v1_50_beta.pth')))
