import pickle

from schemas import DecodeError


def test_a_decode_error_goes_from_process_to_process():
    error = DecodeError("expected a number", path="$.p", where="raw.exchange.v1[2]@1842")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (DecodeError, "raw.exchange.v1[2]@1842 $.p: expected a number")
