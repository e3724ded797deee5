"""The models that are served: their files, and how they come, change and go."""
