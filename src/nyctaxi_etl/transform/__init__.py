"""Rows as published become rows as declared; every row is accounted for."""
