# PASCAL VOC 2012 trainaug as DeepLab v1 trains on it: crop 321, flip, no scaling, batch 30 (LargeFOV; 20 for the
# others) (1412.7062, section 4.1, and its released prototxt files).
_base_ = './voc12_aug.py'
crop_size = (321, 321)
train_pipeline = [*_base_.load, dict(type='RandomCrop', crop_size=crop_size), *_base_.flip]
train_dataloader = dict(batch_size=30, dataset=dict(pipeline=train_pipeline))
