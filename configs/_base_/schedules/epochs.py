# Epochs in place of iterations: as poly_30k, whose rate falls with every iteration; validations, checkpoints and log
# are by epochs. It stands for a schedule and default_runtime.py together:
#   _base_ = ['_base_/models/MODEL.py', '_base_/datasets/DATASET.py', '_base_/schedules/epochs.py']
_base_ = ['./poly_30k.py', '../default_runtime.py']
param_scheduler = [dict(type='PolyLR', power=0.9, by_epoch=True, convert_to_iter_based=True)]
train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=50, val_interval=5)
default_hooks = dict(checkpoint=dict(by_epoch=True), logger=dict(log_metric_by_epoch=True))
log_processor = dict(by_epoch=True)
