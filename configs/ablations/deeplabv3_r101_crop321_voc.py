# v3, Table 8: crop 321 in training, 67.22 mIoU on VOC 2012 val.
_base_ = '../deeplabv3_r101_voc.py'
crop_size = (321, 321)
train_pipeline = [dict(s, crop_size=crop_size) if s['type'] == 'RandomCrop' else s for s in _base_.train_pipeline]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(data_preprocessor=dict(size=crop_size))
