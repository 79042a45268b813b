"""The descriptor of proto/calibration_config_onnx.proto in protobuf text form.

Made by tools/gen_proto.py: edit the .proto, not this file.
"""

FILE_DESCRIPTOR = """\
name: "calibration_config_onnx.proto"
package: "amct_lite"
message_type {
  name: "AMCTConfig"
  field {
    name: "batch_num"
    number: 1
    label: LABEL_OPTIONAL
    type: TYPE_UINT32
    default_value: "1"
  }
  field {
    name: "activation_offset"
    number: 2
    label: LABEL_OPTIONAL
    type: TYPE_BOOL
    default_value: "true"
  }
  field {
    name: "joint_quant"
    number: 3
    label: LABEL_OPTIONAL
    type: TYPE_BOOL
    default_value: "false"
  }
  field {
    name: "skip_layers"
    number: 10
    label: LABEL_REPEATED
    type: TYPE_STRING
  }
  field {
    name: "skip_layer_types"
    number: 11
    label: LABEL_REPEATED
    type: TYPE_STRING
  }
  field {
    name: "common_config"
    number: 50
    label: LABEL_OPTIONAL
    type: TYPE_MESSAGE
    type_name: ".amct_lite.CalibrationConfig"
  }
  field {
    name: "override_layer_types"
    number: 51
    label: LABEL_REPEATED
    type: TYPE_MESSAGE
    type_name: ".amct_lite.OverrideLayerType"
  }
  field {
    name: "override_layer_configs"
    number: 100
    label: LABEL_REPEATED
    type: TYPE_MESSAGE
    type_name: ".amct_lite.OverrideLayer"
  }
  field {
    name: "do_fusion"
    number: 200
    label: LABEL_OPTIONAL
    type: TYPE_BOOL
    default_value: "true"
  }
  field {
    name: "skip_fusion_layers"
    number: 201
    label: LABEL_REPEATED
    type: TYPE_STRING
  }
  field {
    name: "tensor_quantize"
    number: 202
    label: LABEL_REPEATED
    type: TYPE_MESSAGE
    type_name: ".amct_lite.TensorQuantize"
  }
}
message_type {
  name: "OverrideLayerType"
  field {
    name: "layer_type"
    number: 1
    label: LABEL_OPTIONAL
    type: TYPE_STRING
  }
  field {
    name: "calibration_config"
    number: 2
    label: LABEL_OPTIONAL
    type: TYPE_MESSAGE
    type_name: ".amct_lite.CalibrationConfig"
  }
}
message_type {
  name: "OverrideLayer"
  field {
    name: "layer_name"
    number: 1
    label: LABEL_OPTIONAL
    type: TYPE_STRING
  }
  field {
    name: "calibration_config"
    number: 2
    label: LABEL_OPTIONAL
    type: TYPE_MESSAGE
    type_name: ".amct_lite.CalibrationConfig"
  }
}
message_type {
  name: "TensorQuantize"
  field {
    name: "layer_name"
    number: 1
    label: LABEL_OPTIONAL
    type: TYPE_STRING
  }
  field {
    name: "input_index"
    number: 2
    label: LABEL_OPTIONAL
    type: TYPE_UINT32
  }
  field {
    name: "ifmr_quantize"
    number: 100
    label: LABEL_OPTIONAL
    type: TYPE_MESSAGE
    type_name: ".amct_lite.FMRQuantize"
    oneof_index: 0
  }
  field {
    name: "hfmg_quantize"
    number: 101
    label: LABEL_OPTIONAL
    type: TYPE_MESSAGE
    type_name: ".amct_lite.HFMGQuantize"
    oneof_index: 0
  }
  oneof_decl {
    name: "acts_quant_algo"
  }
}
message_type {
  name: "CalibrationConfig"
  field {
    name: "arq_quantize"
    number: 13
    label: LABEL_OPTIONAL
    type: TYPE_MESSAGE
    type_name: ".amct_lite.ARQuantize"
    oneof_index: 0
  }
  field {
    name: "ada_quantize"
    number: 15
    label: LABEL_OPTIONAL
    type: TYPE_MESSAGE
    type_name: ".amct_lite.ADAquantize"
    oneof_index: 0
  }
  field {
    name: "ifmr_quantize"
    number: 100
    label: LABEL_OPTIONAL
    type: TYPE_MESSAGE
    type_name: ".amct_lite.FMRQuantize"
    oneof_index: 1
  }
  field {
    name: "hfmg_quantize"
    number: 101
    label: LABEL_OPTIONAL
    type: TYPE_MESSAGE
    type_name: ".amct_lite.HFMGQuantize"
    oneof_index: 1
  }
  field {
    name: "dmq_balancer"
    number: 200
    label: LABEL_OPTIONAL
    type: TYPE_MESSAGE
    type_name: ".amct_lite.DMQBalancer"
    oneof_index: 2
  }
  oneof_decl {
    name: "wts_quant_algo"
  }
  oneof_decl {
    name: "acts_quant_algo"
  }
  oneof_decl {
    name: "tensor_balancer"
  }
}
message_type {
  name: "ARQuantize"
  field {
    name: "channel_wise"
    number: 1
    label: LABEL_OPTIONAL
    type: TYPE_BOOL
  }
  field {
    name: "quant_bits"
    number: 10
    label: LABEL_OPTIONAL
    type: TYPE_UINT32
  }
}
message_type {
  name: "ADAquantize"
  field {
    name: "num_iteration"
    number: 1
    label: LABEL_OPTIONAL
    type: TYPE_UINT32
    default_value: "10000"
  }
  field {
    name: "reg_param"
    number: 2
    label: LABEL_OPTIONAL
    type: TYPE_FLOAT
    default_value: "0.01"
  }
  field {
    name: "beta_range_start"
    number: 3
    label: LABEL_OPTIONAL
    type: TYPE_FLOAT
    default_value: "20"
  }
  field {
    name: "beta_range_end"
    number: 4
    label: LABEL_OPTIONAL
    type: TYPE_FLOAT
    default_value: "2"
  }
  field {
    name: "warm_start"
    number: 5
    label: LABEL_OPTIONAL
    type: TYPE_FLOAT
    default_value: "0.2"
  }
  field {
    name: "channel_wise"
    number: 10
    label: LABEL_OPTIONAL
    type: TYPE_BOOL
  }
}
message_type {
  name: "FMRQuantize"
  field {
    name: "search_range_start"
    number: 1
    label: LABEL_OPTIONAL
    type: TYPE_FLOAT
    default_value: "0.7"
  }
  field {
    name: "search_range_end"
    number: 2
    label: LABEL_OPTIONAL
    type: TYPE_FLOAT
    default_value: "1.3"
  }
  field {
    name: "search_step"
    number: 3
    label: LABEL_OPTIONAL
    type: TYPE_FLOAT
    default_value: "0.01"
  }
  field {
    name: "max_percentile"
    number: 4
    label: LABEL_OPTIONAL
    type: TYPE_FLOAT
    default_value: "0.999999"
  }
  field {
    name: "min_percentile"
    number: 5
    label: LABEL_OPTIONAL
    type: TYPE_FLOAT
    default_value: "0.999999"
  }
  field {
    name: "asymmetric"
    number: 6
    label: LABEL_OPTIONAL
    type: TYPE_BOOL
  }
  field {
    name: "dst_type"
    number: 10
    label: LABEL_OPTIONAL
    type: TYPE_ENUM
    type_name: ".amct_lite.DataType"
  }
}
message_type {
  name: "HFMGQuantize"
  field {
    name: "num_of_bins"
    number: 1
    label: LABEL_OPTIONAL
    type: TYPE_UINT32
    default_value: "4096"
  }
  field {
    name: "asymmetric"
    number: 2
    label: LABEL_OPTIONAL
    type: TYPE_BOOL
  }
  field {
    name: "dst_type"
    number: 10
    label: LABEL_OPTIONAL
    type: TYPE_ENUM
    type_name: ".amct_lite.DataType"
  }
}
message_type {
  name: "DMQBalancer"
  field {
    name: "migration_strength"
    number: 1
    label: LABEL_OPTIONAL
    type: TYPE_FLOAT
    default_value: "0.5"
  }
}
enum_type {
  name: "DataType"
  value {
    name: "INT8"
    number: 1
  }
  value {
    name: "INT16"
    number: 2
  }
}
"""
