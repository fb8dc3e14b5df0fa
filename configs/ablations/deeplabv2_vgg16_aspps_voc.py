# v2, table of VGG-16 heads on VOC 2012 val: ASPP-S, 66.98 mIoU, 69.73 after the CRF.
# python tools/train.py configs/ablations/deeplabv2_vgg16_aspps_voc.py
# One device, batch 10, 20000 iterations; time and score are not measured here.
_base_ = '../deeplabv2_vgg16_voc.py'
model = dict(decode_head=dict(rates=(2, 4, 8, 12)))
