"""The parts of `goodcert bench serve`: bodies, processes, load, ceilings, the page."""
