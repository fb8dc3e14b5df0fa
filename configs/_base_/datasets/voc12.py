# PASCAL VOC 2012, the official lists (1464 train, 1449 val), with the pipeline of DeepLab v3 and v3+: scale 0.5 to 2.0
# in steps of 0.25, crop 513, flip, batch 16 (1706.05587, section 4; TF release). Test images are never resized: the
# model pads them to crop_size.
_base_ = './shared.py'
dataset_type = 'PascalVOCDataset'
data_root = 'data/VOCdevkit/VOC2012'
num_classes = 21
crop_size = (513, 513)

train_pipeline = [*_base_.load, _base_.scale, dict(type='RandomCrop', crop_size=crop_size), *_base_.flip]
files = dict(img_path='JPEGImages', seg_map_path='SegmentationClass')
dataset = dict(type=dataset_type, data_root=data_root, data_prefix=files)
train = dict(dataset, ann_file='ImageSets/Segmentation/train.txt', pipeline=train_pipeline)
train_dataloader = dict(batch_size=16, dataset=train)
val_dataloader = dict(dataset=dict(dataset, ann_file='ImageSets/Segmentation/val.txt'))
test_dataloader = val_dataloader
