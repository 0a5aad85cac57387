"""The mirror: rows of jobs in the database, for history and for queries. Redis stays the truth."""
