"""Labels of addresses for the store, each with the moment from which it was public knowledge."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from featurestore.features.exchange_addresses import EXCHANGES
from schemas.errors import StateError
from schemas.rules import SECOND_NS

SOURCE = "labels"
_COLUMNS = {"address": pa.string(), "label": pa.string(), "known_time": pa.timestamp("ns", "UTC")}


def feature_labels() -> pa.Table:
    """Return the labels that the features of exchanges' flows use.

    >>> feature_labels().column_names
    ['address', 'label', 'known_time_ns']
    """
    addresses, names, known = zip(*EXCHANGES, strict=True)
    return pa.table(
        {"address": addresses, "label": names, "known_time_ns": pa.array([s * SECOND_NS for s in known], pa.int64())}
    )


def read_labels(path: Path) -> pa.Table:
    """Return the labels of a CSV file with the columns address, label and known_time (ISO 8601, with its zone).

    Raises StateError.
    """
    types = pyarrow.csv.ConvertOptions(column_types=_COLUMNS, include_columns=list(_COLUMNS), strings_can_be_null=False)
    try:
        read = pyarrow.csv.read_csv(path, convert_options=types)
    except (OSError, pa.ArrowException, ValueError, KeyError) as error:
        problem = str(error).splitlines()[0][:200]
        raise StateError(f"{path}: expected the columns {', '.join(_COLUMNS)}: {problem}") from None
    known = read["known_time"].cast(pa.int64())
    return pa.table({"address": pc.utf8_lower(read["address"]), "label": read["label"], "known_time_ns": known})
