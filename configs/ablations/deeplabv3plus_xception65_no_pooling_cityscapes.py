# v3+, Table 7: Xception-65 with decoder and without image pooling on Cityscapes val, 79.14 mIoU.
# python tools/train.py configs/ablations/deeplabv3plus_xception65_no_pooling_cityscapes.py
# One device, batch 16, 90000 iterations; time and score are not measured here.
_base_ = '../deeplabv3plus_xception65_cityscapes.py'
model = dict(decode_head=dict(pool_bins=()))
