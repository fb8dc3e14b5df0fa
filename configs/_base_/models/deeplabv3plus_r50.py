# DeepLab v3+ with ResNet-50, otherwise as with ResNet-101.
_base_ = './deeplabv3_r50.py'
model = dict(decode_head=dict(type='DeepLabV3PlusHead'))
