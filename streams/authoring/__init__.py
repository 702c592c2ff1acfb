"""What a quant is helped with: a new file, a trial of a feature on recorded data, a picture of it."""
