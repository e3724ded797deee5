"""Recording: ledger, signature, triggers and idempotency, which every certificate passes before it is sent."""
