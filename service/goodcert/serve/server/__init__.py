"""Server processes: assembly, start and graceful shutdown, the supervisor of workers, connections and TLS."""
