# CamVid, 11 classes, 360 x 480. The crop holds a whole image on the grid of output strides 8, 16 and 32 (32 k + 1).
# Published on its 233 test images: DeepLab-LargeFOV 61.6, SegNet 60.1 mIoU (Table of BiSeNet, 1808.00897).
_base_ = './shared.py'
dataset_type = 'CamVidDataset'
data_root = 'data/camvid'
num_classes = 11
crop_size = (385, 481)

train_pipeline = [*_base_.load, _base_.scale, dict(type='RandomCrop', crop_size=crop_size), *_base_.flip]
dataset = dict(type=dataset_type, data_root=data_root)
train = dict(img_path='img_dir/train', seg_map_path='ann_dir/train')
val = dict(img_path='img_dir/val', seg_map_path='ann_dir/val')
train_dataloader = dict(batch_size=8, dataset=dict(dataset, data_prefix=train, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(dataset, data_prefix=val))
test_dataloader = val_dataloader
