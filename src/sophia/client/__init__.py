"""A small client of Sophia's own HTTP API. Knows the wire and the nouns, nothing else of Sophia."""
