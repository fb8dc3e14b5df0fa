# v3+, Table 5: decoder with plain convolutions in ASPP and decoder, 79.93 mIoU on VOC 2012 val at 16, 80.22 at 8.
# python tools/train.py configs/ablations/deeplabv3plus_xception65_plain_voc.py
# One device, batch 16, 30000 iterations; time and score are not measured here.
_base_ = '../deeplabv3plus_xception65_voc.py'
model = dict(decode_head=dict(separable_aspp=False, separable_decoder=False))
