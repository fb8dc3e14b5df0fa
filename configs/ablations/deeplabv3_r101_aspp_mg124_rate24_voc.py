# v3, Table 5: ASPP with rates (6, 12, 18, 24), no image pooling, multi-grid (1, 2, 4), 76.46 mIoU on VOC 2012 val.
# python tools/train.py configs/ablations/deeplabv3_r101_aspp_mg124_rate24_voc.py
# One device, batch 16, 30000 iterations; time and score are not measured here.
_base_ = '../deeplabv3_r101_voc.py'
model = dict(decode_head=dict(pool_bins=(), rates=(6, 12, 18, 24)))
