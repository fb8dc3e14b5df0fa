# Your own folder of images and masks, see docs/your_own_pictures.md. No published figure.
# python tools/train.py configs/deeplabv3plus_mobilenetv2_folder.py --data-root FOLDER
# One device, batch 16, 10000 iterations; time and score depend on the pictures.
_base_ = [
    '_base_/models/deeplabv3plus_mobilenetv2.py',
    '_base_/datasets/image_mask_folder.py',
    '_base_/schedules/poly_10k.py',
    '_base_/default_runtime.py',
]
model = dict(
    num_classes=_base_.num_classes,
    crop_size=_base_.crop_size,
    decode_head=dict(initial_weights='kaiming'),  # few iterations
)
optim_wrapper = dict(optimizer=dict(weight_decay=4e-5))  # TensorFlow release, for MobileNet
