# v3+, Table 1: low-level features reduced to 8 channels, one 3x3 in the decoder, 77.61 mIoU on VOC 2012 val.
# python tools/train.py configs/ablations/deeplabv3plus_r101_low8_voc.py
# One device, batch 16, 30000 iterations; time and score are not measured here.
_base_ = '../deeplabv3plus_r101_voc.py'
model = dict(decode_head=dict(low_level_width=8, decoder_kernels=(3,)))
