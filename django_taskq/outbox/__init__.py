"""Jobs that are written into the database with the transaction that enqueues them."""
