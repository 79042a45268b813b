"""What scripts and files made for AMCT need: its names and formats, translated to this package's own. No quantization here."""
