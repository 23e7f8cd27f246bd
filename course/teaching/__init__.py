"""What the instructor's guide and the poll sheets are made of: facts that are read, and words that a person wrote."""
