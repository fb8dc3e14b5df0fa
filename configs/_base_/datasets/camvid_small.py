# CamVid in crops of half an image, for short trainings on a CPU.
_base_ = './camvid.py'
crop_size = (289, 385)
train_pipeline = [*_base_.load, _base_.scale, dict(type='RandomCrop', crop_size=crop_size), *_base_.flip]
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=train_pipeline))
