"""Closed forms that several models share."""
