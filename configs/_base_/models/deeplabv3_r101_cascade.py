# DeepLab v3 with ResNet-101 and the cascade block5 to block7 in place of ASPP (v3, section 3.2).
_base_ = './deeplabv3_r101.py'
model = dict(
    backbone=dict(num_blocks=7, multi_grid=(1, 2, 1)),
    decode_head=dict(_delete_=True, type='DeepLabV3CascadeHead'),
)
