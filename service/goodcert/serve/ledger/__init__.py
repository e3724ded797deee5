"""The ledger: an append-only, hash-chained record of every certificate, written before its answer is sent.

`chain` defines the digests, `tables` and `database` the storage; `writer` appends, `reader` queries, `audit`
verifies the chain, `retention` prunes, `export` writes tables; `outbox` stores the events that triggers raised.
"""
