"""The descriptor of proto/scale_offset_record_onnx.proto in protobuf text form.

Made by tools/gen_proto.py: edit the .proto, not this file.
"""

FILE_DESCRIPTOR = """\
name: "scale_offset_record_onnx.proto"
package: "amct_lite"
message_type {
  name: "SingleLayerRecord"
  field {
    name: "scale_d"
    number: 1
    label: LABEL_OPTIONAL
    type: TYPE_FLOAT
  }
  field {
    name: "offset_d"
    number: 2
    label: LABEL_OPTIONAL
    type: TYPE_INT32
  }
  field {
    name: "scale_w"
    number: 3
    label: LABEL_REPEATED
    type: TYPE_FLOAT
  }
  field {
    name: "offset_w"
    number: 4
    label: LABEL_REPEATED
    type: TYPE_INT32
  }
  field {
    name: "shift_bit"
    number: 5
    label: LABEL_REPEATED
    type: TYPE_UINT32
  }
  field {
    name: "skip_fusion"
    number: 6
    label: LABEL_OPTIONAL
    type: TYPE_BOOL
    default_value: "true"
  }
  field {
    name: "is_tensor_quantize"
    number: 10
    label: LABEL_OPTIONAL
    type: TYPE_BOOL
    default_value: "false"
  }
  field {
    name: "tensor_balance_factor"
    number: 13
    label: LABEL_REPEATED
    type: TYPE_FLOAT
  }
  field {
    name: "op_data_type"
    number: 15
    label: LABEL_OPTIONAL
    type: TYPE_STRING
  }
  field {
    name: "act_type"
    number: 20
    label: LABEL_OPTIONAL
    type: TYPE_STRING
    default_value: "INT8"
  }
  field {
    name: "wts_type"
    number: 21
    label: LABEL_OPTIONAL
    type: TYPE_STRING
    default_value: "INT8"
  }
  field {
    name: "dst_type"
    number: 30
    label: LABEL_OPTIONAL
    type: TYPE_STRING
    default_value: "INT8"
  }
  field {
    name: "scale_h"
    number: 31
    label: LABEL_OPTIONAL
    type: TYPE_FLOAT
  }
  field {
    name: "offset_h"
    number: 32
    label: LABEL_OPTIONAL
    type: TYPE_INT32
  }
  field {
    name: "scale_r"
    number: 33
    label: LABEL_REPEATED
    type: TYPE_FLOAT
  }
  field {
    name: "offset_r"
    number: 34
    label: LABEL_REPEATED
    type: TYPE_INT32
  }
}
message_type {
  name: "MapFiledEntry"
  field {
    name: "key"
    number: 1
    label: LABEL_OPTIONAL
    type: TYPE_STRING
  }
  field {
    name: "value"
    number: 2
    label: LABEL_OPTIONAL
    type: TYPE_MESSAGE
    type_name: ".amct_lite.SingleLayerRecord"
  }
}
message_type {
  name: "ScaleOffsetRecord"
  field {
    name: "record"
    number: 1
    label: LABEL_REPEATED
    type: TYPE_MESSAGE
    type_name: ".amct_lite.MapFiledEntry"
  }
}
"""
