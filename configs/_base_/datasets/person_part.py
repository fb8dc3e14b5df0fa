# PASCAL-Person-Part, six parts and background, 1716 training and 1817 validation images: crop 321, scales 0.5 to 1.5,
# batch 10, as DeepLab v2 (1606.00915, section 4.3). tools/prepare_dataset.py person-part writes the masks.
_base_ = './shared.py'
dataset_type = 'PersonPartDataset'
data_root = 'data/VOCdevkit/VOC2010'
num_classes = 7
crop_size = (321, 321)

train_pipeline = [*_base_.load, _base_.scale_v2, dict(type='RandomCrop', crop_size=crop_size), *_base_.flip]
files = dict(img_path='JPEGImages', seg_map_path='SegmentationPersonPart')
dataset = dict(type=dataset_type, data_root=data_root, data_prefix=files)
train = dict(dataset, ann_file='ImageSets/PersonPart/train.txt', pipeline=train_pipeline)
train_dataloader = dict(batch_size=10, dataset=train)
val_dataloader = dict(dataset=dict(dataset, ann_file='ImageSets/PersonPart/val.txt'))
test_dataloader = val_dataloader
