# ruff: noqa: A005 - it mirrors the tree
