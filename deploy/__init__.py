"""Starting what Foreshock runs on: Kafka and Triton on this machine, and how it is deployed elsewhere."""
