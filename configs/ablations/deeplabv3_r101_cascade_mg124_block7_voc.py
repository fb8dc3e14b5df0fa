# v3, Table 3: ResNet-101 up to block7, multi-grid (1, 2, 4), 76.02 mIoU on VOC 2012 val.
_base_ = '../deeplabv3_r101_cascade_voc.py'
model = dict(backbone=dict(multi_grid=(1, 2, 4)))
