# v3, Table 8: loss on logits that are not upsampled, 76.01 mIoU on VOC 2012 val.
# python tools/train.py configs/ablations/deeplabv3_r101_no_upsampling_voc.py
# One device, batch 16, 30000 iterations; time and score are not measured here.
_base_ = '../deeplabv3_r101_voc.py'
model = dict(decode_head=dict(upsample_logits=False))
