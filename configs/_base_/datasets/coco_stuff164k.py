# COCO-Stuff 164k (COCO 2017), 171 classes, 118287 training and 5000 validation images, with the pipeline of 10k. Its
# masks count from 0: tools/prepare_dataset.py coco-stuff164k makes them.
_base_ = './coco_stuff10k.py'
data_root = 'data/coco_stuff164k'
dataset = dict(data_root=data_root, reduce_zero_label=False)
train = dict(img_path='images/train2017', seg_map_path='annotations/train2017')
val = dict(img_path='images/val2017', seg_map_path='annotations/val2017')
train_dataloader = dict(dataset=dict(dataset, data_prefix=train))
val_dataloader = dict(dataset=dict(dataset, data_prefix=val))
test_dataloader = val_dataloader
