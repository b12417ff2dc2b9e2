"""``python -m nyctaxi_etl`` is ``nyctaxi``."""

from nyctaxi_etl.cli.app import run

if __name__ == "__main__":
    run()
