"""Calling somebody: rules over certificates, whose webhooks are delivered at least once.

`trigger` is a rule as the settings have it, `watch` finds what it raises; the ledger keeps that with the
certificate (`ledger.outbox`), `delivery` takes it to its `target`, `receiver` is the other end, for trying it.
"""
