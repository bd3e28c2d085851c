import importlib

import pytest


def test_the_value_function_of_a_framework_is_named_with_its_place():
    baselines = importlib.import_module("garage.baselines")
    with pytest.raises(ImportError, match=r"import it from garage\.np\.value_functions"):
        from garage.baselines import MLPValueFunction  # noqa: F401, PLC0415 - the statement that users write
    with pytest.raises(AttributeError, match="has no attribute 'LinearBaseline'"):
        baselines.LinearBaseline  # noqa: B018 - what it raises is looked at
