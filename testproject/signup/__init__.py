"""Sign-up, and the welcome mail that a worker sends."""
