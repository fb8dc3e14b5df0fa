# v3, Table 5: ASPP with rates (6, 12, 18) and without image pooling, multi-grid (1, 1, 1), 75.36 mIoU on VOC 2012 val.
# python tools/train.py configs/ablations/deeplabv3_r101_aspp_mg111_voc.py
# One device, batch 16, 30000 iterations; time and score are not measured here.
_base_ = '../deeplabv3_r101_voc.py'
model = dict(backbone=dict(multi_grid=(1, 1, 1)), decode_head=dict(pool_bins=()))
