# COCO-Stuff 10k, 171 classes, 9000 training and 1000 test images: crop 321, scales 0.5 to 1.5, batch 10, as the
# DeepLab v2 of its authors (1612.03716). reduce_zero_label: 0 is unlabelled, ignored.
_base_ = './shared.py'
dataset_type = 'COCOStuffDataset'
data_root = 'data/coco_stuff10k'
num_classes = 171
crop_size = (321, 321)

train_pipeline = [*_base_.load, _base_.scale_v2, dict(type='RandomCrop', crop_size=crop_size), *_base_.flip]
dataset = dict(type=dataset_type, data_root=data_root, reduce_zero_label=True)
train = dict(img_path='images/train2014', seg_map_path='annotations/train2014')
val = dict(img_path='images/test2014', seg_map_path='annotations/test2014')
train_dataloader = dict(batch_size=10, dataset=dict(dataset, data_prefix=train, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(dataset, data_prefix=val))
test_dataloader = val_dataloader
