"""People are told, and answer: against servers that keep what they were sent."""
