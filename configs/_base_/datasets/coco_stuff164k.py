# COCO-Stuff 164k (COCO 2017), 171 classes, 118287 training and 5000 validation images, with the pipeline of 10k. Its
# masks count from 0: tools/prepare_dataset.py coco-stuff164k makes them.
_base_ = './coco_stuff10k.py'
data_root = 'data/coco_stuff164k'
train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        data_prefix=dict(img_path='images/train2017', seg_map_path='annotations/train2017'),
        reduce_zero_label=False,
    )
)
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        data_prefix=dict(img_path='images/val2017', seg_map_path='annotations/val2017'),
        reduce_zero_label=False,
    )
)
test_dataloader = val_dataloader
