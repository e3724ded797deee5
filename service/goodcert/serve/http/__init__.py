"""The paths of the service, and what goes over the wire."""
