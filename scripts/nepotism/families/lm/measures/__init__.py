"""What is measured of text: a module each, with its definition and where it is from. Blocks are tokens, int32 (N, length)."""
