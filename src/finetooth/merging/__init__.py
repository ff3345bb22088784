"""Merging models: the field's methods, in bounded memory."""
