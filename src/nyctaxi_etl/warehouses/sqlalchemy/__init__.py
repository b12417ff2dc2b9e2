"""Any other database of SQLAlchemy's."""
