"""The record's fields have the numbers of AMCT's."""

from amct_lite.record.schema import ScaleOffsetRecord


def test_numbers_are_those_of_the_contract() -> None:
    entry = ScaleOffsetRecord.DESCRIPTOR.fields_by_name["record"].message_type
    layer = entry.fields_by_name["value"].message_type
    numbers = {field.name: field.number for field in layer.fields}
    contract = {
        "scale_d": 1,
        "offset_d": 2,
        "scale_w": 3,
        "offset_w": 4,
        "shift_bit": 5,
        "skip_fusion": 6,
        "is_tensor_quantize": 10,
        "tensor_balance_factor": 13,
        "op_data_type": 15,
        "act_type": 20,
        "wts_type": 21,
    }
    assert contract.items() <= numbers.items()
