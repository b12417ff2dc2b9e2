"""``python -m nyctaxi_etl`` is ``nyctaxi``."""

from nyctaxi_etl.cli import run

if __name__ == "__main__":
    run()
