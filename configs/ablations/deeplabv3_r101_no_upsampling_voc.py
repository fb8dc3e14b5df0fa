# v3, Table 8: loss on logits that are not upsampled, 76.01 mIoU on VOC 2012 val.
_base_ = '../deeplabv3_r101_voc.py'
model = dict(decode_head=dict(upsample_logits=False))
