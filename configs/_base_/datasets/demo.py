# The generated demo dataset (tools/make_demo_dataset.py): pictures of 104 to 128 pixels a side.
_base_ = './shared.py'
dataset_type = 'DemoDataset'
data_root = 'data/demo'
num_classes = 7
crop_size = (97, 97)

views = [dict(type='Resize', scale_factor=scale, keep_ratio=True) for scale in (0.75, 1.0, 1.25)]
tta_pipeline = [_base_.load[0], dict(type='TestTimeAug', transforms=[views, *_base_.mirrored])]
scale = dict(type='RandomScale', scales=(0.75, 1.0, 1.25))
train_pipeline = [*_base_.load, scale, dict(type='RandomCrop', crop_size=crop_size), *_base_.flip]
files = dict(img_path='JPEGImages', seg_map_path='SegmentationClass')
dataset = dict(type=dataset_type, data_root=data_root, data_prefix=files)
train = dict(dataset, ann_file='ImageSets/Segmentation/train.txt', pipeline=train_pipeline)
train_dataloader = dict(batch_size=8, num_workers=2, dataset=train)
val_dataloader = dict(num_workers=2, dataset=dict(dataset, ann_file='ImageSets/Segmentation/val.txt'))
test_dataloader = val_dataloader
