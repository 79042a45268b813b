"""The descriptor of proto/mixed_precision_config.proto in protobuf text form.

Made by tools/gen_proto.py: edit the .proto, not this file.
"""

FILE_DESCRIPTOR = """\
name: "mixed_precision_config.proto"
package: "amct_lite"
message_type {
  name: "AutoMixedPrecisionConfig"
  field {
    name: "compress_ratio"
    number: 1
    label: LABEL_OPTIONAL
    type: TYPE_FLOAT
  }
  field {
    name: "test_iteration"
    number: 2
    label: LABEL_OPTIONAL
    type: TYPE_INT32
  }
  field {
    name: "ptq_cfg"
    number: 3
    label: LABEL_OPTIONAL
    type: TYPE_STRING
  }
  field {
    name: "override_qat_cfg"
    number: 4
    label: LABEL_OPTIONAL
    type: TYPE_STRING
  }
  field {
    name: "quant_bit_limit"
    number: 5
    label: LABEL_REPEATED
    type: TYPE_MESSAGE
    type_name: ".amct_lite.QuantBitLimit"
  }
}
message_type {
  name: "QuantBitLimit"
  field {
    name: "layer_name"
    number: 1
    label: LABEL_OPTIONAL
    type: TYPE_STRING
  }
  field {
    name: "data_range"
    number: 2
    label: LABEL_REPEATED
    type: TYPE_ENUM
    type_name: ".amct_lite.QuantBitLimit.DataType"
  }
  enum_type {
    name: "DataType"
    value {
      name: "FLOAT"
      number: 0
    }
    value {
      name: "INT4"
      number: 1
    }
    value {
      name: "INT8"
      number: 2
    }
  }
}
"""
