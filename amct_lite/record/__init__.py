"""The record file: what it says, whether that can be right and fits a model, how two of them differ, new numbers for it.

AMCT's words (scale_d, offset_d, act_type …) are known here and translated into `types.LayerRecord`.
"""

from amct_lite.record.check import LayerFacts, check_record, require_valid
from amct_lite.record.diff import FieldChange, LayerDiff, RecordDiff, diff_records, record_fields
from amct_lite.record.edit import Edit, edit_record
from amct_lite.record.layer import UNIT_WEIGHT, RecurrentRecord, type_names
from amct_lite.record.reads import ReadFacts, mistake, obstacle, split_key
from amct_lite.record.suspicions import channel_ratio, distinct_scales, suspicions, used_scales
from amct_lite.record.text import format_record, parse_record, read_record, record_digest

__all__ = [
    "UNIT_WEIGHT",
    "Edit",
    "FieldChange",
    "LayerDiff",
    "LayerFacts",
    "ReadFacts",
    "RecordDiff",
    "RecurrentRecord",
    "channel_ratio",
    "check_record",
    "diff_records",
    "distinct_scales",
    "edit_record",
    "format_record",
    "mistake",
    "obstacle",
    "parse_record",
    "read_record",
    "record_digest",
    "record_fields",
    "require_valid",
    "split_key",
    "suspicions",
    "type_names",
    "used_scales",
]
