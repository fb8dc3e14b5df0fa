# DeepLab v3+ on torchvision's ResNet-50: see deeplabv3_r101_torchvision.
_base_ = './deeplabv3_r50_torchvision.py'
model = dict(decode_head=dict(type='DeepLabV3PlusHead'))
