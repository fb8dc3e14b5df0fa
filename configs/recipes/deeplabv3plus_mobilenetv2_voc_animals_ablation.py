# As deeplabv3plus_mobilenetv2_voc_animals_600, smaller, for an ablation over seeds (docs/results.md).
# No published figure.
# python tools/train.py configs/recipes/deeplabv3plus_mobilenetv2_voc_animals_ablation.py
# One device, batch 4, 300 iterations; time and score: docs/results.md.
_base_ = './deeplabv3plus_mobilenetv2_voc_animals_600.py'
crop_size = (193, 193)
crop = dict(type='RandomCrop', crop_size=crop_size)
pipeline = [crop if step['type'] == 'RandomCrop' else step for step in _base_.train_pipeline]
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=pipeline))
model = dict(crop_size=crop_size)
train_cfg = dict(max_iters=300, val_interval=300)
auto_scale_lr = dict(base_batch_size=4)
