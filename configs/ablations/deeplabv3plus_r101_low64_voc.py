# v3+, Table 1: low-level features reduced to 64 channels, one 3x3 in the decoder, 77.94 mIoU on VOC 2012 val.
_base_ = '../deeplabv3plus_r101_voc.py'
model = dict(decode_head=dict(low_level_width=64, decoder_kernels=(3,)))
