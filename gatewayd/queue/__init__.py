"""queue: what is owed to whom, until every recipient has come to rest."""
