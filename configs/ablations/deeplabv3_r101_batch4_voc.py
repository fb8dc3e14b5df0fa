# v3, Table 9: batch 4, 64.43 mIoU on VOC 2012 val.
# python tools/train.py configs/ablations/deeplabv3_r101_batch4_voc.py
# One device, batch 4, 30000 iterations; time and score are not measured here.
_base_ = '../deeplabv3_r101_voc.py'
train_dataloader = dict(batch_size=4)
auto_scale_lr = dict(base_batch_size=4)
