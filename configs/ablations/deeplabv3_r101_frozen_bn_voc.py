# v3, Table 8: batch norm not trained, 75.95 mIoU on VOC 2012 val.
_base_ = '../deeplabv3_r101_voc.py'
model = dict(frozen_bn=('backbone', 'decode_head'))
