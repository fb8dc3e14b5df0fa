# DeepLab v3+ with ResNet-101 (v3+, section 3 and Tables 1 to 3), on the ResNet of v3.
_base_ = './deeplabv3_r101.py'
model = dict(decode_head=dict(type='DeepLabV3PlusHead'))
