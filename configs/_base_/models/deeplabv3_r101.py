# DeepLab v3 with ResNet-101 and ASPP with image pooling (v3, section 3.3 and Tables 5 and 6).
_base_ = './deeplabv3plus_r101.py'
model = dict(decode_head=dict(type='DeepLabV3Head'))
