"""Adapters that are made: combined from others, or extracted from a fine-tune."""
