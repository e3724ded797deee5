"""Evidence: claims and their signatures, recomputation by a third party, idempotency of requests."""
