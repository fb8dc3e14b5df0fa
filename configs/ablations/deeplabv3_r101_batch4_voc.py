# v3, Table 9: batch 4, 64.43 mIoU on VOC 2012 val.
_base_ = '../deeplabv3_r101_voc.py'
train_dataloader = dict(batch_size=4)
auto_scale_lr = dict(base_batch_size=4)
