"""The settings of the service, the rules of its triggers among them."""
