# What all runs share: registration, hooks, logging, environment. User hooks go to custom_hooks.
default_scope = 'mmseg'
custom_imports = dict(imports=['mmseg_deeplab.plugin'], allow_failed_imports=False)
runner_type = 'DeepLabRunner'
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
randomness = dict(seed=0)

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CrashSafeCheckpointHook', max_keep_ckpts=2, save_best='mIoU'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    # Idle; for MMSegmentation's own tools/test.py --show-dir, which is refused without it.
    visualization=dict(type='SegVisualizationHook'),
    strict_load=dict(type='StrictLoadHook'),
    exact_resume=dict(type='ExactResumeHook'),
    batch_norm=dict(type='BatchNormHook'),
    batch_loss=dict(type='BatchLossHook'),
    finite=dict(type='FiniteHook'),
    classes=dict(type='ClassesHook'),
    fast_inference=dict(type='FastInferenceHook'),
)
vis_backends = [dict(type='LocalVisBackend')]
# Without a name it gets the run's; with one, the next run of the same process writes to the first one's work dir.
visualizer = dict(type='SegLocalVisualizer', vis_backends=vis_backends)
log_processor = dict(by_epoch=False)
log_level = 'INFO'
load_from = None
resume = False
tta_model = dict(type='DeepLabTTA')
