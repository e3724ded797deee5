"""From a trained network to the model file: ONNX, metadata, threshold, and a check that it is bounded."""
