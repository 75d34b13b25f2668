"""Docker's engine jobs on a store: the functions, typed, and the handlers that give them their old words."""

NAMES = (
    "auth",
    "commands",
    "history",
    "image_delete",
    "image_export",
    "image_get",
    "image_inspect",
    "image_set",
    "image_tag",
    "image_tarlayer",
    "images",
    "import",
    "load",
    "pull",
    "push",
    "search",
    "tag",
    "viz",
)
