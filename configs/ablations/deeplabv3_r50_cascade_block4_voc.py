# v3, Table 2: ResNet-50 up to block4, 64.81 mIoU on VOC 2012 val.
# python tools/train.py configs/ablations/deeplabv3_r50_cascade_block4_voc.py
# One device, batch 16, 30000 iterations; time and score are not measured here.
_base_ = './deeplabv3_r50_cascade_os16_voc.py'
model = dict(backbone=dict(num_blocks=4))
