"""Where Alembic gets its connection from: `database.migrate` hands it over, in a transaction of its own."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
