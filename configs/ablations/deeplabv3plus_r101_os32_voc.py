# v3+, Table 3: trained at output stride 32, on VOC 2012 val 77.37 mIoU at 32, 77.80 at 16, 77.92 at 8.
# python tools/train.py configs/ablations/deeplabv3plus_r101_os32_voc.py
# One device, batch 16, 30000 iterations; time and score are not measured here.
_base_ = '../deeplabv3plus_r101_voc.py'
model = dict(output_stride=32)
