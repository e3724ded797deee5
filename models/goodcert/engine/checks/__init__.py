"""What is checked at load before an engine may certify."""
