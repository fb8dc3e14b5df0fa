# As deeplabv3plus_mobilenetv2_voc_animals_600, judged by moving averages of weights and statistics over 100 iterations.
# No published figure.
# python tools/train.py configs/recipes/deeplabv3plus_mobilenetv2_voc_animals_600_ema.py
# One device, batch 8, 600 iterations; time and score: docs/records.md.
_base_ = './deeplabv3plus_mobilenetv2_voc_animals_600.py'
custom_hooks = [*_base_.custom_hooks, dict(type='EMAHook', momentum=0.01, update_buffers=True)]
