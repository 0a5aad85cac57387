"""An app as it was in one release, and as it is in the next: RELEASE says which."""
