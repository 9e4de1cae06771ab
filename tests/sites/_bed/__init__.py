"""Muster's test bed: sites east and west, and a witness, each piece real. The verbs are in cli.py."""
