# v3, Table 9: batch 8, 75.76 mIoU on VOC 2012 val.
# python tools/train.py configs/ablations/deeplabv3_r101_batch8_voc.py
# One device, batch 8, 30000 iterations; time and score are not measured here.
_base_ = '../deeplabv3_r101_voc.py'
train_dataloader = dict(batch_size=8)
auto_scale_lr = dict(base_batch_size=8)
