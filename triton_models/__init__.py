"""Networks, log-HAR, training and what tritonserver reads; see the README."""
