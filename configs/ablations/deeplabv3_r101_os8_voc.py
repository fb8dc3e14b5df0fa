# v3, Table 10: trained at output stride 8, 75.62 mIoU on VOC 2012 val at 8, 74.45 at 16.
# python tools/train.py configs/ablations/deeplabv3_r101_os8_voc.py
# One device, batch 16, 30000 iterations; time and score are not measured here.
_base_ = '../deeplabv3_r101_voc.py'
model = dict(output_stride=8)
