# Cityscapes, 19 classes, fine annotations: crop 769, scales 0.5 to 2.0, whole 1024 x 2048 images at test, which
# DeepLab pads to 1025 x 2049; batch 16 over all devices (the TF release takes 8 where memory is short).
# Test scales 0.75, 1, 1.25 (1706.05587, section 4.3).
_base_ = './shared.py'
dataset_type = 'CityscapesDataset'
data_root = 'data/cityscapes'
num_classes = 19
crop_size = (769, 769)

views = [dict(type='Resize', scale_factor=scale, keep_ratio=True) for scale in (0.75, 1.0, 1.25)]
tta_pipeline = [_base_.load[0], dict(type='TestTimeAug', transforms=[views, *_base_.mirrored])]
train_pipeline = [*_base_.load, _base_.scale, dict(type='RandomCrop', crop_size=crop_size), *_base_.flip]
dataset = dict(type=dataset_type, data_root=data_root)
train = dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train')
val = dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val')
train_dataloader = dict(batch_size=16, dataset=dict(dataset, data_prefix=train, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(dataset, data_prefix=val))
test_dataloader = val_dataloader
