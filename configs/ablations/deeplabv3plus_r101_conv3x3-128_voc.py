# v3+, Table 2: one 3x3 convolution of 128 channels in the decoder, 77.25 mIoU on VOC 2012 val.
# python tools/train.py configs/ablations/deeplabv3plus_r101_conv3x3-128_voc.py
# One device, batch 16, 30000 iterations; time and score are not measured here.
_base_ = '../deeplabv3plus_r101_voc.py'
model = dict(decode_head=dict(decoder_kernels=(3,), decoder_channels=128))
