# PASCAL-Context without background: 59 classes; reduce_zero_label (set by the dataset class) ignores the background.
_base_ = './pascal_context.py'
dataset_type = 'PascalContextDataset59'
num_classes = 59
train_dataloader = dict(dataset=dict(type=dataset_type))
val_dataloader = dict(dataset=dict(type=dataset_type))
test_dataloader = val_dataloader
