"""What was said: every certificate in a database before its answer is sent, in a chain that shows what is missing.

chain, tables, database; `writer` appends, `reader` looks up, `audit` looks for what was changed;
`outbox` keeps what triggers raised.
"""
