import pytest
from mmengine.registry import DefaultScope


@pytest.fixture(autouse=True)
def mmseg_scope():
    """Pipelines are built in mmseg's scope, as a Runner of any config does."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield
