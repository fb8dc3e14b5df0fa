# v3+, Table 2: three 3x3 convolutions in the decoder, 78.02 mIoU on VOC 2012 val.
# python tools/train.py configs/ablations/deeplabv3plus_r101_conv3x3-x3_voc.py
# One device, batch 16, 30000 iterations; time and score are not measured here.
_base_ = '../deeplabv3plus_r101_voc.py'
model = dict(decode_head=dict(decoder_kernels=(3, 3, 3)))
