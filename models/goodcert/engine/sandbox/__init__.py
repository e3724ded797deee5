"""The sandbox: untrusted model files are examined in a process with limits, which may crash without harm."""
