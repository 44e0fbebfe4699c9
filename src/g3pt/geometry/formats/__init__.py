"""Every byte that came from somebody else is read here."""
