"""What quantization does to a network: measured on data, layer by layer."""
