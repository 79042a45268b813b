"""Where batches come from: one file a format, each ends in a `Source`.

A reader opens files and names them in its errors; whether the arrays fit the model is decided in `calibration.feeds`.
"""
