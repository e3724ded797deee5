"""Types that every part of the service may import: errors, verdicts, timestamps, ids, logging."""
