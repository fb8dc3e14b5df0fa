# v3+, Table 7: Xception-65 with decoder and without image pooling on Cityscapes val, 79.14 mIoU.
_base_ = '../deeplabv3plus_xception65_cityscapes.py'
model = dict(decode_head=dict(pool_bins=()))
