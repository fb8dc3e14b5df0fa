# v3, Table 9: batch 12, 76.49 mIoU on VOC 2012 val.
# python tools/train.py configs/ablations/deeplabv3_r101_batch12_voc.py
# One device, batch 12, 30000 iterations; time and score are not measured here.
_base_ = '../deeplabv3_r101_voc.py'
train_dataloader = dict(batch_size=12)
auto_scale_lr = dict(base_batch_size=12)
