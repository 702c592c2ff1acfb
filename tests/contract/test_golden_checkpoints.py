"""States that this and every earlier release wrote are restored, and nothing of them is lost or made twice.

`golden/checkpoints/<release>/` holds, for each stage that keeps a state, what the stage had read, its state in the
middle, and what it read then; and topics of checkpoints as they lay there, with and without chunks, with the field
`resume` and as written before it. Parity and store keep no state: offsets of their group, and the tables
themselves, say where they go on. A set is added with a release and never changed:

    python -m tests.contract.checkpoint_sets

writes that of the version in pyproject.toml. Two kinds of failure mean two things:

* "an upgrade broke": the present code makes of the input up to the state what the release made, but goes on
  otherwise from the release's state than without a restart, or cannot read it. Whoever upgrades loses or repeats
  records: mend the code, never the set.
* "a new golden set is needed": the present code makes something else of the same input even without a restart
  (a feature, a weight, a format was meant to change). There is nothing to compare the bytes of the last set
  with: raise the version and write a new one. Sets of earlier releases must still be restored, and give a record
  for each that a run without restart gives; where features of a state are others now, featurize must refuse with
  StateError, which is what an upgrade shall see.

Last bits of logarithms differ between kinds of processors; on another kind than the writer's the numbers are
not compared, only that there is the same record for each.
"""

from pathlib import Path

import pytest
from msgspec.structs import replace

from schemas import StateError
from schemas.topics import EVENT_TOPICS
from streams.checkpoints import CheckpointStore
from streams.ingest.checkpoints import last_checkpoints
from streams.ingest.state import NormaliserState
from tests.contract.checkpoint_players import PLAYERS
from tests.contract.checkpoint_sets import (
    PLACE,
    SETS,
    Manifests,
    TableLog,
    digest,
    played,
    processor,
    read_golden,
    restored,
    version,
)

FOLDERS = sorted(SETS.iterdir(), key=lambda folder: [int(part) for part in folder.name.split(".")])
EVERY = [pytest.param(folder, stage, id=f"{folder.name}-{stage}") for folder in FOLDERS for stage in PLAYERS]
NEEDED = "a new golden set is needed: raise the version and run `python -m tests.contract.checkpoint_sets`"


def by_topic(made):
    """Each topic's records in their order: that of topics among each other is free.

    So is that of types of events between two borders; each type, and progress, counts for itself.
    """
    found = {}
    for each in made:
        headers = dict(each.headers)
        progress = headers.pop("progress", None)
        if each.value is not None:
            kind = each.topic, headers["record"] if each.topic in EVENT_TOPICS else b""
            found.setdefault(kind, []).append(replace(each, headers=list(headers.items())))
        if progress is not None:
            found.setdefault((each.topic, b"progress"), []).append(progress)
    return found


def places(made):
    """What there is a record for."""
    return {kind: [getattr(each, "key", each) for each in records] for kind, records in by_topic(made).items()}


@pytest.mark.parametrize(("folder", "stage"), EVERY)
def test_a_state_of_a_release_goes_on_as_if_there_had_been_no_restart(folder, stage):
    golden = read_golden(folder / f"{stage}.zst")
    before, _, after, last = played(stage, golden.given, golden.cut)
    same = digest(before) == golden.made
    try:
        made, state = restored(stage, golden)
    except StateError as error:
        if stage == "featurize" and not same and folder != FOLDERS[-1]:
            return
        raise AssertionError(f"an upgrade broke: {stage} of {folder.name} is refused: {error}") from error
    assert after
    assert places(made) == places(after), f"an upgrade broke: {stage} of {folder.name} loses or repeats records"
    if same:
        assert by_topic(made) == by_topic(after), f"an upgrade broke: {stage} of {folder.name} goes on otherwise"
        assert state == last, f"an upgrade broke: {stage} of {folder.name} ends in another state"
    else:
        assert folder != FOLDERS[-1] or golden.processor != processor(), NEEDED


def test_the_present_version_has_its_set():
    assert FOLDERS[-1].name == version(), NEEDED


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
@pytest.mark.parametrize("name", ["stage-manifest", "stage-manifest-without-resume"])
def test_the_last_complete_checkpoint_of_a_release_is_found(folder, name):
    manifests = read_golden(folder / f"{name}.zst", Manifests)
    assert len(manifests.records) > 2
    store = CheckpointStore(TableLog(manifests.records), "a-process-of-now")
    assert store.load(0) == manifests.blob, "an upgrade broke: a checkpoint of a stage is not found"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
@pytest.mark.parametrize("name", ["ingest-manifest", "ingest-chunks"])
def test_the_last_complete_checkpoint_of_a_release_of_ingest_is_found(folder, name):
    manifests = read_golden(folder / f"{name}.zst", Manifests)
    found = last_checkpoints(manifests.records)
    assert list(found) == [PLACE]
    assert found[PLACE].blob == manifests.blob, "an upgrade broke: a checkpoint of ingest is not found"
    assert NormaliserState.decode(found[PLACE].blob).books


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_set_is_small_and_of_states_that_hold_something(folder):
    assert sum(path.stat().st_size for path in Path(folder).iterdir()) < 100_000
    for stage in PLAYERS:
        golden = read_golden(folder / f"{stage}.zst")
        assert 0 < golden.cut < len(golden.given)
