# ADE20K (SceneParse150), 20210 training and 2000 validation images. As the TF release: images and labels fitted
# into 513 x 513 with sides of 16 k + 1, then scales 0.5 to 2.0 and crop 513, batch 16. Tested on images fitted into
# 513 x 513 against labels at their full size, where the release resizes those, too. reduce_zero_label (set by the
# dataset class): 0 is 'other', ignored.
_base_ = './shared.py'
dataset_type = 'ADE20KDataset'
data_root = 'data/ade/ADEChallengeData2016'
num_classes = 150
crop_size = (513, 513)

fit = dict(type='Resize', scale=crop_size, keep_ratio=True)
test_pipeline = [_base_.load[0], fit, *_base_.test_pipeline[1:]]
views = [dict(fit, scale=(int(513 * scale),) * 2) for scale in (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)]
tta_pipeline = [_base_.load[0], dict(type='TestTimeAug', transforms=[views, *_base_.mirrored])]
train_fit = dict(type='FitIntoSquare', size=513, factor=16)
train_pipeline = [*_base_.load, train_fit, _base_.scale, dict(type='RandomCrop', crop_size=crop_size), *_base_.flip]
dataset = dict(type=dataset_type, data_root=data_root)
train = dict(img_path='images/training', seg_map_path='annotations/training')
val = dict(img_path='images/validation', seg_map_path='annotations/validation')
train_dataloader = dict(batch_size=16, dataset=dict(dataset, data_prefix=train, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(dataset, data_prefix=val, pipeline=test_pipeline))
test_dataloader = val_dataloader
