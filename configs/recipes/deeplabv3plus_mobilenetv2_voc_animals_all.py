# Head first, second part: deeplabv3plus_mobilenetv2_voc_animals_head goes on with all parts. No published figure.
# python tools/train.py configs/recipes/deeplabv3plus_mobilenetv2_voc_animals_all.py
# One device, batch 8, 400 iterations; time and score: docs/records.md.
_base_ = './deeplabv3plus_mobilenetv2_voc_animals_600.py'
load_from = 'work_dirs/deeplabv3plus_mobilenetv2_voc_animals_head/iter_200.pth'
train_cfg = dict(max_iters=400, val_interval=200)
