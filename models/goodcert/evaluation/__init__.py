"""What a model file is worth: accuracy, AUC and guaranteed AUC, measured with the engine that serves it."""
