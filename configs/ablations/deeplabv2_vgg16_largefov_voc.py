# v2, table of VGG-16 heads on VOC 2012 val: LargeFOV, 65.76 mIoU, 69.84 after the CRF.
# python tools/train.py configs/ablations/deeplabv2_vgg16_largefov_voc.py
# One device, batch 10, 20000 iterations; time and score are not measured here.
_base_ = '../deeplabv2_vgg16_voc.py'
model = dict(decode_head=dict(rates=(12,)))
