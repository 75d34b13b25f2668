"""Tar: a strict reader, an index of entries, and the merge of layers into one tree."""
