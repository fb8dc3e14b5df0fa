# v3+, Table 2: Conv2 and Conv3 in the decoder, each refined by one 3x3, 78.61 mIoU on VOC 2012 val.
_base_ = '../deeplabv3plus_r101_voc.py'
model = dict(decode_head=dict(mid_level_index=1, decoder_kernels=(3,)))
