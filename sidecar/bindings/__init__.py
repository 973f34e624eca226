"""Which session a credential belongs to: token carriers, learned logins, rotation."""
