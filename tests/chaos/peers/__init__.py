"""The same kills for others, so that our row has something beside it."""
