"""Ethereum addresses of exchanges, with the day on which each label was public knowledge.

Source: the dated labels of Dune's spellbook (models/cex/ethereum/cex_ethereum_addresses.sql), hot
and main wallets of the large venues. A label counts from its day on and never before: flows of
earlier days must not know what was found out later. The table is part of the version of each
tile that reads it, so a longer table is a new version, never a change of history.
"""

LABELS_VERSION = "2023-08-31"

_AUGUST_2022 = 1_661_644_800  # 2022-08-28
_OCTOBER_2022 = 1_666_137_600  # 2022-10-19
_APRIL_2023 = 1_680_739_200  # 2023-04-06

EXCHANGES = (
    ("0x3f5ce5fbfe3e9af3971dd833d26ba9b5c936f0be", "Binance", _AUGUST_2022),
    ("0xbe0eb53f46cd790cd13851d5eff43d12404d33e8", "Binance", _AUGUST_2022),
    ("0xf977814e90da44bfa03b6295a0616a897441acec", "Binance", _AUGUST_2022),
    ("0x28c6c06298d514db089934071355e5743bf21d60", "Binance", _AUGUST_2022),
    ("0x21a31ee1afc51d94c2efccaa2092ad1028285549", "Binance", _AUGUST_2022),
    ("0xdfd5293d8e347dfe59e90efd55b2956a1343963d", "Binance", _AUGUST_2022),
    ("0x56eddb7aa87536c09ccc2793473599fd21a8b17f", "Binance", _AUGUST_2022),
    ("0x5a52e96bacdabb82fd05763e25335261b270efcb", "Binance", _APRIL_2023),
    ("0x71660c4005ba85c37ccec55d0c4493e66fe775d3", "Coinbase", _AUGUST_2022),
    ("0x503828976d22510aad0201ac7ec88293211d23da", "Coinbase", _AUGUST_2022),
    ("0xddfabcdc4d8ffc6d5beaf154f18b778f892a0740", "Coinbase", _AUGUST_2022),
    ("0xa9d1e08c7793af67e9d92fe308d5697fb81d3e43", "Coinbase", _AUGUST_2022),
    ("0x6cc5f688a315f3dc28a7781717a9a798a59fda7b", "OKX", _AUGUST_2022),
    ("0x236f9f97e0e62388479bf9e5ba4889e46b0273c3", "OKX", _AUGUST_2022),
    ("0x98ec059dc3adfbdd63429454aeb0c990fba4a128", "OKX", _AUGUST_2022),
    ("0x2910543af39aba0cd09dbb2d50200b3e800a63d2", "Kraken", _AUGUST_2022),
    ("0x267be1c1d684f78cb4f6a176c4911b741e4ffdc0", "Kraken", _AUGUST_2022),
    ("0xe9f7ecae3a53d2a67105292894676b00d1fab785", "Kraken", _AUGUST_2022),
    ("0x77134cbc06cb00b66f4c7e623d5fdbf6777635ec", "Bitfinex", _OCTOBER_2022),
    ("0x876eabf441b2ee5b5b0554fd502a8e0600950cfa", "Bitfinex", _AUGUST_2022),
    ("0xf89d7b9c864f589bbf53a82105107622b35eaa40", "Bybit", _APRIL_2023),
    ("0xab5c66752a9e8167967685f1450532fb96d5d24f", "Huobi", _AUGUST_2022),
    ("0x0d0707963952f2fba59dd06f2b425ace40b492fe", "Gate.io", _AUGUST_2022),
)
"""Address in lower case, exchange, first second (since the epoch) at which the label counts."""
