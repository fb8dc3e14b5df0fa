# Any folder of images and masks (see mmseg_deeplab.datasets.ImageMaskFolder and docs/datasets.md). Copy this file, set
# num_classes to the lines of your classes.txt, and crop_size to 32 k + 1 pixels.
_base_ = './shared.py'
dataset_type = 'ImageMaskFolder'
data_root = 'data/my_dataset'
num_classes = 2
crop_size = (513, 513)

train_pipeline = [*_base_.load, _base_.scale, dict(type='RandomCrop', crop_size=crop_size), *_base_.flip]
dataset = dict(
    type=dataset_type,
    data_root=data_root,
    data_prefix=dict(img_path='images', seg_map_path='masks'),
    masks='indices',  # or 'colours'
    reduce_zero_label=False,  # True: 0 is void and classes count from 1
)
train_dataloader = dict(batch_size=16, dataset=dict(dataset, split='train', pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(dataset, split='val'))
test_dataloader = val_dataloader
