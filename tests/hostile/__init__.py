"""Input that means harm or is badly broken, through the real commands: one clear line, and nothing else happens."""
