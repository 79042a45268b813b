"""The record file: what it says, whether that can be right and fits a model.

How two of them differ (`record.diff`), new numbers (`record.edit`) and what looks odd (`record.suspicions`) are modules that
no run needs.

AMCT's words (scale_d, offset_d, act_type …) are known here and translated into `types.LayerRecord`.
"""

from amct_lite.record.check import LayerFacts, check_record, require_valid
from amct_lite.record.layer import UNIT_DATA, UNIT_WEIGHT, RecurrentRecord, type_names
from amct_lite.record.reads import ReadFacts, mistake, obstacle, split_key
from amct_lite.record.text import format_record, parse_record, read_record, record_digest

__all__ = [
    "UNIT_DATA",
    "UNIT_WEIGHT",
    "LayerFacts",
    "ReadFacts",
    "RecurrentRecord",
    "check_record",
    "format_record",
    "mistake",
    "obstacle",
    "parse_record",
    "read_record",
    "record_digest",
    "require_valid",
    "split_key",
    "type_names",
]
