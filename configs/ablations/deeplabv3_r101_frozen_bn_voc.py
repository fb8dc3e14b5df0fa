# v3, Table 8: batch norm not trained, 75.95 mIoU on VOC 2012 val. Its scale and shift are, as in the TensorFlow
# release (fine_tune_batch_norm=False): the head's have nothing else to normalise with.
_base_ = '../deeplabv3_r101_voc.py'
model = dict(frozen_bn=('backbone', 'decode_head'), frozen_bn_affine=False)
