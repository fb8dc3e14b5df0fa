# v3, Table 10, and v3+, Table 3: trained at output stride 32, VOC 2012 val, 75.43 mIoU at 32, 75.90 at 16, 75.75 at 8.
# python tools/train.py configs/ablations/deeplabv3_r101_os32_voc.py
# One device, batch 16, 30000 iterations; time and score are not measured here.
_base_ = '../deeplabv3_r101_voc.py'
model = dict(output_stride=32)
