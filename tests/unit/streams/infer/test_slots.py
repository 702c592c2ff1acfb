from streams.infer.slots import Slots

T = 1_700_000_000.0


def slots(grace=4.0):
    return Slots(1.0, grace)


def counts(account, now):
    found = account.take(T + now)
    return found["due"], found["late"]


def test_forecasts_in_time_are_due_and_not_missed():
    account = slots()
    for border in range(1, 6):
        account.published(T + border, 3, T + border + 2.7)
    assert counts(account, 8) == (15, 0)


def test_a_border_split_into_parts_counts_each_instrument_once():
    account = slots()
    account.published(T + 1, 256, T + 3)
    account.published(T + 1, 44, T + 3.1)
    assert counts(account, 4) == (300, 0)


def test_while_none_come_each_border_misses_as_many_as_the_last_had():
    # border  1    2    3    4    5          a forecast of 1 at 3 s; the others are missed at border + 4 s
    account = slots()
    account.published(T + 1, 3, T + 3)
    assert counts(account, 5.5) == (3, 0)
    assert counts(account, 9.5) == (12, 12)
    assert counts(account, 9.6) == (0, 0)


def test_what_comes_late_is_missed_once():
    account = slots()
    account.published(T + 1, 3, T + 3)
    assert counts(account, 6.5) == (6, 3)  # border 2 has expired
    account.published(T + 2, 3, T + 7)
    account.published(T + 3, 3, T + 7.5)  # later than its grace, and not counted yet
    assert counts(account, 7.6) == (3, 3)


def test_a_border_without_a_row_was_not_due():
    account = slots()
    account.published(T + 1, 3, T + 3)
    account.published(T + 4, 3, T + 5)
    assert counts(account, 5) == (6, 0)


def test_what_a_restart_missed_is_counted():
    account = slots()
    account.resume(T, 2)
    assert counts(account, 14.5) == (20, 20)


def test_after_the_listing_time_nothing_is_known_to_be_due():
    account = slots()
    account.resume(T, 1)
    assert counts(account, 5_000) == (900, 900)


def test_in_a_replay_only_what_is_written_counts():
    account = slots(None)
    account.published(1_000.0, 3, T)
    assert counts(account, 100) == (3, 0)
