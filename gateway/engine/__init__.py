"""The pure function over the journal: positions in, events out."""
