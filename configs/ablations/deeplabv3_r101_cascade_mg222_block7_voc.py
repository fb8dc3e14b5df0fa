# v3, Table 3: ResNet-101 up to block7, multi-grid (2, 2, 2), 74.62 mIoU on VOC 2012 val.
_base_ = '../deeplabv3_r101_cascade_voc.py'
model = dict(backbone=dict(multi_grid=(2, 2, 2)))
