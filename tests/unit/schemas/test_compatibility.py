"""Which changes of a record its readers can bear."""

import copy

import pytest

from schemas.compatibility import breaks
from schemas.errors import StateError
from schemas.released import broken, bundled, freeze, released, subjects
from schemas.rules import TICKS

BACKWARD, FULL = "BACKWARD_TRANSITIVE", "FULL_TRANSITIVE"
FORECAST = subjects(TICKS)["forecast.volatility.v1-value"].schema
TRADE = subjects(TICKS)["exchange.event.v1-trade"].schema
ATTENTION = subjects(TICKS)["forecast.attention.v1-value"].schema


def changed(schema, change):
    new = copy.deepcopy(schema)
    change(new)
    return new


def rename(node, old, new):
    node["properties"][new] = node["properties"].pop(old)
    node["required"] = [new if name == old else name for name in node["required"]]


def removed(new):
    del new["properties"]["reason"]


def retyped(new):
    new["properties"]["origin_time_ns"]["type"] = "string"


def deep_type(new):
    new["$defs"]["HorizonForecast"]["properties"]["mean"]["type"] = "string"


def required_added(new):
    new["properties"]["venue"] = {"type": "string"}
    new["required"].append("venue")


def enum_narrowed(new):
    new["properties"]["status"]["enum"].remove("unavailable")


def enum_widened(new):
    new["properties"]["status"]["enum"].append("withdrawn")


def bound_narrowed(new):
    new["$defs"]["HorizonForecast"]["properties"]["uncertainty"]["maximum"] = 0.5


def place_added(new):
    new["$defs"]["Receipt"]["properties"]["batch"]["prefixItems"].append({"type": "integer"})


def default_changed(new):
    new["properties"]["reason"]["default"] = "none"


def unknown_keyword(new):
    new["properties"]["reason"]["not"] = {"const": ""}


def closed(new):
    new["properties"]["horizons"]["additionalProperties"] = False


def optional_added(new):
    new["properties"]["desk"] = {"type": "string", "default": ""}


def described_otherwise(new):
    new["description"] = new["properties"]["status"]["description"] = "Other words."


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (removed, "$.reason: removed or renamed"),
        (retyped, "$.origin_time_ns: integer was written, string is read"),
        (deep_type, "$.horizons.*.mean: number was written, string is read"),
        (required_added, "$.venue: required, and not always written"),
        (enum_narrowed, "$.status: unavailable was written, and is not among fallback, model"),
        (bound_narrowed, "$.horizons.*.uncertainty: maximum 0.5 is asked for, 1 was kept"),
        (place_added, "$.receipt.batch: 2 places were written, 3 are read"),
        (default_changed, "$.reason: the default changed"),
        (unknown_keyword, "$.reason: the keyword 'not' is not understood"),
        (closed, "$.horizons: any field is written, and no further field is allowed"),
    ],
)
@pytest.mark.parametrize("level", [BACKWARD, FULL])
def test_a_change_that_readers_cannot_bear_is_refused(change, told, level):
    assert told in breaks(changed(FORECAST, change), FORECAST, level)


def test_a_renamed_unit_is_refused():
    def in_ms(new):
        rename(new["$defs"]["HeadSummary"], "half_life_seconds", "half_life_ms")

    found = breaks(changed(ATTENTION, in_ms), ATTENTION, BACKWARD)
    assert "$.heads[].half_life_seconds: removed or renamed" in found
    assert "$.heads[].half_life_ms: required, and not always written" in found


def test_another_width_of_an_arrow_column_is_refused():
    def wider(new):
        new["properties"]["side"]["x-arrow-type"] = "int64"

    assert breaks(changed(TRADE, wider), TRADE, BACKWARD) == ["$.side: Arrow's int8 was written, int64 is read"]


@pytest.mark.parametrize("change", [optional_added, described_otherwise])
@pytest.mark.parametrize("level", [BACKWARD, FULL])
def test_a_change_that_fits_passes(change, level):
    assert breaks(changed(FORECAST, change), FORECAST, level) == []


def test_a_new_word_breaks_only_readers_of_before():
    assert breaks(changed(FORECAST, enum_widened), FORECAST, BACKWARD) == []
    (told,) = breaks(changed(FORECAST, enum_widened), FORECAST, FULL)
    assert told == (
        "$.status: withdrawn was written, and is not among fallback, model, unavailable, by readers of that release"
    )


def test_one_of_several_alternatives_is_enough():
    old, new = {"type": "integer"}, {"anyOf": [{"type": "string"}, {"type": "number"}]}
    assert breaks(new, old, BACKWARD) == []
    assert breaks(new, old, FULL) == ["$: string was written, integer is read, by readers of that release",
                                      "$: number was written, integer is read, by readers of that release"]  # fmt: skip


def test_every_release_counts_and_not_only_the_last(tmp_path):
    first = freeze(TICKS, tmp_path)
    old = changed(FORECAST, lambda new: new["properties"].update(gone={"type": "string", "default": ""}))
    history = {"1": released(tmp_path)["1"] | {"Forecast": old}, "2": released(tmp_path)["1"]}
    assert first.name == "1"
    assert [line.partition(" (")[0] for line in broken(TICKS, history)] == [
        f"forecast.volatility{variant}.v1-value against release 1: $.gone: removed or renamed"
        for variant in ("", "-latest")
    ]


def test_a_record_that_no_topic_holds_any_more_is_told():
    history = {"1": {"Swap": {"type": "object"}}}
    assert list(broken(TICKS, history)) == ["Swap of release 1: no topic holds it any more"]


def test_a_release_is_frozen_once(tmp_path):
    freeze(TICKS, tmp_path)
    with pytest.raises(StateError, match="nothing has changed since release 1"):
        freeze(TICKS, tmp_path)
    assert released(tmp_path)["1"]["Forecast"] == FORECAST


def test_a_release_that_breaks_the_last_is_not_frozen(tmp_path):
    path = freeze(TICKS, tmp_path) / "Trade.json"
    path.write_text(path.read_text().replace('"int8"', '"int16"'))
    with pytest.raises(StateError, match="side: Arrow's int16 was written, int8 is read"):
        freeze(TICKS, tmp_path)


def test_what_a_schema_refers_to_is_inside_it():
    schemas = {"A": {"properties": {"b": {"$ref": "#/components/schemas/B"}}}, "B": {"$ref": "C.json"}, "C": {}}
    whole = bundled("A", schemas)
    assert whole["properties"] == {"b": {"$ref": "#/$defs/B"}}
    assert whole["$defs"] == {"B": {"$ref": "#/$defs/C"}, "C": {}}
