"""Arrays in, arrays out: no frames, no files, no logging."""
