"""Which modalities a forecast is made of: exact Shapley values and what is compared with them."""
