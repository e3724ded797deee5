"""What the service tells those who run it: metrics, logs and traces."""
