"""Calling somebody: rules over certificates, whose webhooks are delivered at least once.

`settings.trigger_rules` says what a rule is, `watch` finds what it raises; the ledger keeps that with the
certificate (`ledger.outbox`), `delivery` takes it to its receiver by a `webhook_client`; `receiver` is the other
end, for trying it.
"""
