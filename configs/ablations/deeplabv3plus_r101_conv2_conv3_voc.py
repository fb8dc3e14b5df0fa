# v3+, Table 2: Conv2 and Conv3 in the decoder, each refined by one 3x3, 78.61 mIoU on VOC 2012 val.
# python tools/train.py configs/ablations/deeplabv3plus_r101_conv2_conv3_voc.py
# One device, batch 16, 30000 iterations; time and score are not measured here.
_base_ = '../deeplabv3plus_r101_voc.py'
model = dict(decode_head=dict(mid_level_index=1, decoder_kernels=(3,)))
