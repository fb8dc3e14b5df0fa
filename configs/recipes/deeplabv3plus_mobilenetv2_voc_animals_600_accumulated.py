# As deeplabv3plus_mobilenetv2_voc_animals_600, a step every two batches at twice the rate. No published figure.
# python tools/train.py configs/recipes/deeplabv3plus_mobilenetv2_voc_animals_600_accumulated.py
# One device, batch 8, 600 iterations; time and score: docs/records.md.
_base_ = './deeplabv3plus_mobilenetv2_voc_animals_600.py'
optim_wrapper = dict(accumulative_counts=2, optimizer=dict(lr=0.01))
