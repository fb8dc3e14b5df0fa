# v3+, Table 1: low-level features reduced to 64 channels, one 3x3 in the decoder, 77.94 mIoU on VOC 2012 val.
# python tools/train.py configs/ablations/deeplabv3plus_r101_low64_voc.py
# One device, batch 16, 30000 iterations; time and score are not measured here.
_base_ = '../deeplabv3plus_r101_voc.py'
model = dict(decode_head=dict(low_level_width=64, decoder_kernels=(3,)))
