"""Triggers and webhooks: rules over certificates, whose events are delivered at least once.

`settings.trigger_rules` defines a rule, `watch` evaluates them, the ledger stores the events with the certificate
(`ledger.outbox`), `delivery` sends them by a `webhook_client`, which connects through `address_pinning`;
`receiver` is a receiver of webhooks for trying it out.
"""
