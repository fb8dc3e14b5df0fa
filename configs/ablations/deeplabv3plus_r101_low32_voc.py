# v3+, Table 1: low-level features reduced to 32 channels, one 3x3 in the decoder, 78.16 mIoU on VOC 2012 val.
_base_ = '../deeplabv3plus_r101_voc.py'
model = dict(decode_head=dict(low_level_width=32, decoder_kernels=(3,)))
