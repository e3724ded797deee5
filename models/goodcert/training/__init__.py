"""Training: losses are functions of tensors, schedules functions of progress, recipes data, one loop."""
