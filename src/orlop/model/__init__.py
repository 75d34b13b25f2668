"""Values: pure, immutable, checked when made. No input or output happens here."""
