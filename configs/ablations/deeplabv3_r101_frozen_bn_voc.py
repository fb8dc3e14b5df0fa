# v3, Table 8: batch norm not trained, 75.95 mIoU on VOC 2012 val. Its scale and shift are, as in the TensorFlow
# release (fine_tune_batch_norm=False): the head's have nothing else to normalise with.
# python tools/train.py configs/ablations/deeplabv3_r101_frozen_bn_voc.py
# One device, batch 16, 30000 iterations; time and score are not measured here.
_base_ = '../deeplabv3_r101_voc.py'
model = dict(frozen_bn=('backbone', 'decode_head'), frozen_bn_affine=False)
