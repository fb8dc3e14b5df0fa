# DeepLab v3+ on torchvision's ResNet-101: see deeplabv3_r101_torchvision.
_base_ = './deeplabv3_r101_torchvision.py'
model = dict(decode_head=dict(type='DeepLabV3PlusHead'))
