# v3, Table 3: ResNet-101 up to block7, multi-grid (1, 2, 4), 76.02 mIoU on VOC 2012 val.
# python tools/train.py configs/ablations/deeplabv3_r101_cascade_mg124_block7_voc.py
# One device, batch 16, 30000 iterations; time and score are not measured here.
_base_ = '../deeplabv3_r101_cascade_voc.py'
model = dict(backbone=dict(multi_grid=(1, 2, 4)))
