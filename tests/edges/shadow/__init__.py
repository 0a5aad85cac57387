"""Another app with a command of our name, as Channels once had one."""
