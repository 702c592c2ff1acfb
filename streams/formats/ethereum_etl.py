"""ethereum-etl's `token_transfer` records: what stablecoins and wrapped assets do on Ethereum.

A mint or burn of a stablecoin, and its transfers, concern every asset; those of a wrapped asset
concern that asset.

https://ethereum-etl.readthedocs.io/en/latest/schema/#token_transferscsv
"""

from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from schemas import DecodeError, Event, Flow, LeftOut
from schemas.events import UNKNOWN
from schemas.instruments import ANY_ASSET
from streams.formats.fields import Number, read, shown, time_ns

FORMAT = "ethereum-etl"

ZERO_ADDRESS = "0x" + "0" * 40


class Token(NamedTuple):
    """A token contract: symbol, decimals, and the asset that it stands for ("*": a stablecoin)."""

    symbol: str
    decimals: int
    asset: str


TOKENS = {
    "0xdac17f958d2ee523a2206206994597c13d831ec7": Token("USDT", 6, ANY_ASSET),
    "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48": Token("USDC", 6, ANY_ASSET),
    "0x6b175474e89094c44da98b954eedeac495271d0f": Token("DAI", 18, ANY_ASSET),
    "0x4fabb145d64652a948d72533023f6e7a623c7c53": Token("BUSD", 18, ANY_ASSET),
    "0xc5f0f7b66764f6ec8c8dff7ba683102295e16409": Token("FDUSD", 18, ANY_ASSET),
    "0x6c3ea9036406852006290770bedfcaba0e23a0e8": Token("PYUSD", 6, ANY_ASSET),
    "0x2260fac5e5542a773aa44fbcfedf7c193bc2c599": Token("WBTC", 8, "BTC"),
    "0xcbb7c0000ab88b473b1f5afd9ef808440eed33bf": Token("CBBTC", 8, "BTC"),
    "0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2": Token("WETH", 18, "ETH"),
    "0xae7ab96520de3a18e5e111b5eaab095312d7fe84": Token("STETH", 18, "ETH"),
    "0x514910771af9ca656af840dff83e8264ecf986ca": Token("LINK", 18, "LINK"),
}

_OTHER_TYPES = {"block", "transaction", "log", "trace", "contract", "token", "receipt"}
_Address = Annotated[str, Meta(pattern=r"^0x[0-9a-fA-F]{40}$")]
_LARGEST_TOKEN_AMOUNT = 2.0**256


class _Typed(msgspec.Struct, frozen=True, gc=False):
    type: str


class TokenTransfer(msgspec.Struct, frozen=True, gc=False):
    """One ERC-20 transfer; `value` in the token's smallest unit."""

    token_address: _Address
    from_address: _Address
    to_address: _Address
    value: Annotated[float, Meta(ge=0, lt=_LARGEST_TOKEN_AMOUNT)]
    transaction_hash: Annotated[str, Meta(pattern=r"^0x[0-9a-fA-F]{64}$")]
    log_index: Number
    block_number: Number
    block_timestamp: float | str | None = None


_TYPED = msgspec.json.Decoder(_Typed)
_TRANSFER = msgspec.json.Decoder(TokenTransfer, strict=False)


def decode(value: bytes, source: str) -> list[Event] | LeftOut:
    """Return the flow of one record of the chain `source`; raises DecodeError."""
    kind = read(_TYPED, value).type
    if kind in _OTHER_TYPES:
        return LeftOut(kind)
    if kind != "token_transfer":
        raise DecodeError(f"expected a type of record of ethereum-etl, got {shown(kind)}", path="$.type")
    transfer = read(_TRANSFER, value)
    token = TOKENS.get(transfer.token_address.lower())
    if token is None:
        return LeftOut("other-token")
    return [_flow(transfer, token, source)]


def _flow(transfer: TokenTransfer, token: Token, source: str) -> Event:
    amount = transfer.value / 10**token.decimals
    time = transfer.block_timestamp
    return Flow(
        instrument_id=token.asset,
        venue=source,
        event_time_ns=0 if time is None else time_ns(time, "$.block_timestamp"),
        sequence=transfer.block_number,
        id=f"{transfer.transaction_hash}:{transfer.log_index}",
        kind=_kind(transfer),
        token=token.symbol,
        amount=amount,
        amount_usd=amount if token.asset == ANY_ASSET else UNKNOWN,
        from_address=transfer.from_address.lower(),
        to_address=transfer.to_address.lower(),
        block=transfer.block_number,
    )


def _kind(transfer: TokenTransfer) -> str:
    if transfer.from_address == ZERO_ADDRESS:
        return "mint"
    return "burn" if transfer.to_address == ZERO_ADDRESS else "transfer"
