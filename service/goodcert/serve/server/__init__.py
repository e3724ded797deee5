"""The processes that serve, from their start to their end, and the connections they hold."""
