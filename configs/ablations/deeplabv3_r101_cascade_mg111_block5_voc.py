# v3, Tables 2 and 3: ResNet-101 up to block5, multi-grid (1, 1, 1), 73.21 mIoU on VOC 2012 val.
# python tools/train.py configs/ablations/deeplabv3_r101_cascade_mg111_block5_voc.py
# One device, batch 16, 30000 iterations; time and score are not measured here.
_base_ = '../deeplabv3_r101_cascade_voc.py'
model = dict(backbone=dict(num_blocks=5, multi_grid=(1, 1, 1)))
