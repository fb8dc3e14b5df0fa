# PASCAL VOC 2012 trainaug as DeepLab v2 trains on it: scales 0.5 to 1.5, crop 321, flip, batch 10 (1606.00915,
# section 4.1, and its released prototxt files; the VGG-16 ones without scaling).
_base_ = './voc12_aug.py'
crop_size = (321, 321)
train_pipeline = [*_base_.load, _base_.scale_v2, dict(type='RandomCrop', crop_size=crop_size), *_base_.flip]
train_dataloader = dict(batch_size=10, dataset=dict(pipeline=train_pipeline))
