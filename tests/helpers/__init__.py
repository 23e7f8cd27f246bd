"""What several rooms' tests need: small models, small data, and comparisons."""
