"""Fetch every server ahead of its first start: `python -m deploy.fetch`."""

import sys

from deploy.cache import say
from deploy.environment import SetupError
from deploy.java import java_program
from deploy.kafka import kafka_jars
from deploy.triton import triton_folder
from schemas.errors import StackError


def main() -> None:
    """Fetch Kafka, a Java where none is installed, and tritonserver."""
    try:
        java_program()
        kafka_jars()
        triton_folder()
    except (SetupError, StackError) as error:
        say(str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
