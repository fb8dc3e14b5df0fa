# DeepLab v3 on torchvision's ResNet-50, otherwise as on its ResNet-101.
_base_ = './deeplabv3_r101_torchvision.py'
model = dict(backbone=dict(depth=50, init_cfg=dict(checkpoint='torchvision://resnet50')))
