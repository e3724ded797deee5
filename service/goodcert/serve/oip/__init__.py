"""The Open Inference Protocol, version 2, over the same models, queues and certificates as /v1.

`rest` answers what lies under /v2; `grpc_server` turns gRPC calls into such requests, so that keys, limits and
metrics have one door. docs/protocol.md says what is supported.
"""
