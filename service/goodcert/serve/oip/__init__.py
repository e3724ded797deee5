"""The Open Inference Protocol, version 2, over the same models, queues and certificates as /v1.

`dataplane` is what it does; `rest` answers by it what lies under /v2, and `grpc_server` the calls of gRPC.
docs/protocol.md says what is supported.
"""
