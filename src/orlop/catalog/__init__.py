"""What exists, what names what, what tags point where."""
