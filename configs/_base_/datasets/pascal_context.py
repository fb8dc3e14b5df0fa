# PASCAL-Context, 59 classes and background, 4998 training and 5105 validation images: crop 321, scales 0.5 to 1.5,
# batch 10, as DeepLab v2 (1606.00915, section 4.2). tools/prepare_dataset.py pascal-context writes the masks.
_base_ = './shared.py'
dataset_type = 'PascalContextDataset'
data_root = 'data/VOCdevkit/VOC2010'
num_classes = 60
crop_size = (321, 321)

train_pipeline = [*_base_.load, _base_.scale_v2, dict(type='RandomCrop', crop_size=crop_size), *_base_.flip]
files = dict(img_path='JPEGImages', seg_map_path='SegmentationClassContext')
dataset = dict(type=dataset_type, data_root=data_root, data_prefix=files)
train = dict(dataset, ann_file='ImageSets/SegmentationContext/train.txt', pipeline=train_pipeline)
train_dataloader = dict(batch_size=10, dataset=train)
val_dataloader = dict(dataset=dict(dataset, ann_file='ImageSets/SegmentationContext/val.txt'))
test_dataloader = val_dataloader
