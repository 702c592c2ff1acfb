"""What touches Kafka, Faust, Triton, clocks and metrics: ingest, featurize, infer, score."""
