# v3, Table 8: crop 321 in training, 67.22 mIoU on VOC 2012 val.
# python tools/train.py configs/ablations/deeplabv3_r101_crop321_voc.py
# One device, batch 16, 30000 iterations; time and score are not measured here.
_base_ = '../deeplabv3_r101_voc.py'
crop_size = (321, 321)
train_pipeline = [dict(s, crop_size=crop_size) if s['type'] == 'RandomCrop' else s for s in _base_.train_pipeline]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(crop_size=crop_size, data_preprocessor=dict(test_cfg=dict(size=(513, 513))))
