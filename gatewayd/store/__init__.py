"""store: the port to SQL, and the only room that imports SQLAlchemy, Alembic and psycopg.

One file per table, with its statements; one function per statement. A function takes `tx` first and
returns rows or values without behaviour: the room above gives them meaning.
"""
