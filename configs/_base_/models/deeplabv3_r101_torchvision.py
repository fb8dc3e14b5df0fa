# DeepLab v3 on torchvision's ResNet-101: 7x7 convolution as stem, the stride of a block in its first unit. Not the
# network behind the papers' figures (deeplabv3_r101), but its ImageNet weights download themselves.
_base_ = './deeplabv3_r101.py'
model = dict(
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    backbone=dict(
        stem_channels=None,
        strided_unit='first',
        init_cfg=dict(checkpoint='torchvision://resnet101', prefix=None),
    ),
)
