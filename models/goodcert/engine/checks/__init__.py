"""What must hold before an engine may certify: checks at load, of the file and of this machine."""
