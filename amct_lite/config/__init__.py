"""The user's intent: what to quantize and how, from Python, a file or the command line.

Names of algorithms, operators and nodes are kept as given: what exists is known only to the stage that resolves the
configuration against a model. `QuantConfig.place` tells that stage where in the file a value came from.
"""

from amct_lite.config.files import load_config
from amct_lite.config.overrides import LayerConfig, Override
from amct_lite.config.settings import DEFAULT_ALGORITHM, QuantConfig
from amct_lite.config.values import (
    ACTIVATION_BITS,
    BIAS_CORRECTIONS,
    PER_CHANNEL,
    TARGETS,
    WEIGHT_BITS,
    parse_input_shapes,
)
from amct_lite.config.writing import FORMATS, format_config

__all__ = [
    "ACTIVATION_BITS",
    "BIAS_CORRECTIONS",
    "DEFAULT_ALGORITHM",
    "FORMATS",
    "PER_CHANNEL",
    "TARGETS",
    "WEIGHT_BITS",
    "LayerConfig",
    "Override",
    "QuantConfig",
    "format_config",
    "load_config",
    "parse_input_shapes",
]
