"""What canonical messages say, whatever batches and repeats they came in."""

from schemas.batches import Progress, decode_batch


def content(messages):
    """Return the events and the progress per (topic, partition, raw partition), first stamps only.

    `messages`: (topic, partition, headers, value) in log order. Repeats are skipped as a reader of
    the log skips them: by stamp within a record type.
    """
    logs = {}
    for topic, partition, headers, value in messages:
        if "record" not in headers or "raw" not in headers:
            continue
        log = logs.setdefault((topic, partition, int(headers["raw"])), {"progress": []})
        if value:
            _add_events(log, decode_batch(value))
        if "progress" in headers:
            progress = Progress.decode(headers["progress"])
            if not log["progress"] or progress.raw_offset > log["progress"][-1].raw_offset:
                log["progress"].append(progress)
    return logs


def settled(messages):
    """Return `content` with the first and the last progress alone: one may stand for several borders."""
    logs = content(messages)
    for log in logs.values():
        log["progress"] = [*log["progress"][:1], *log["progress"][1:][-1:]]
    return logs


def _add_events(log, batch):
    rows = batch.to_arrow().to_pylist()
    seen = log.setdefault(batch.record, [])
    last = (seen[-1]["raw_offset"], seen[-1]["raw_index"]) if seen else (-1, -1)
    # Text, so that NaN equals NaN.
    seen += [Row(row) for row in rows if (row["raw_offset"], row["raw_index"]) > last]


class Row(dict):
    """An event and its stamps; NaN equals NaN."""

    def __eq__(self, other):
        return repr(self) == repr(other)

    __hash__ = None
