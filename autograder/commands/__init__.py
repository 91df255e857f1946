"""The commands, by who gives them; each imports what it needs when it is called, so that help comes at once."""

OK, UNREADABLE, BROKEN = 0, 1, 2
