"""The record file: what it says, whether that can be right, whether it fits a model, and how two of them differ.

AMCT's words (scale_d, offset_d, act_type …) are known here and translated into `types.LayerRecord`.
"""

from amct_lite.record.check import LayerFacts, check_record, require_valid
from amct_lite.record.diff import FieldChange, LayerDiff, RecordDiff, diff_records, record_fields
from amct_lite.record.layer import UNIT_WEIGHT, RecurrentRecord, type_names
from amct_lite.record.reads import ReadFacts, mistake, obstacle, split_key
from amct_lite.record.text import format_record, parse_record, read_record, record_digest

__all__ = [
    "UNIT_WEIGHT",
    "FieldChange",
    "LayerDiff",
    "LayerFacts",
    "ReadFacts",
    "RecordDiff",
    "RecurrentRecord",
    "check_record",
    "diff_records",
    "format_record",
    "mistake",
    "obstacle",
    "parse_record",
    "read_record",
    "record_digest",
    "record_fields",
    "require_valid",
    "split_key",
    "type_names",
]
