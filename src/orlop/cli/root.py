"""The table of commands: name, module, one line of help."""

from __future__ import annotations

import click

from .lazy import Commands, Entry

SECTIONS = {
    "Fetch and look": ("pull", "images", "tags", "inspect", "history", "manifest", "config", "digest"),
    "Send": ("push", "copy"),
    "Use": ("run", "mount", "umount", "unpack", "bundle", "export", "serve"),
    "Keep": ("tag", "untag", "rm", "gc", "fsck", "df"),
    "Of old": ("image", "job"),
    "More": ("demo", "completion"),
}

ENTRIES = {
    "pull": Entry("pull", "pull", "Fetch images into the store."),
    "images": Entry("images", "images", "List the images in the store."),
    "tags": Entry("images", "tags", "List the tags of a repository."),
    "inspect": Entry("look", "inspect", "Show what an image is made of."),
    "history": Entry("look", "history", "Show how an image was built."),
    "manifest": Entry("look", "manifest", "Print the bytes of a manifest or index."),
    "config": Entry("look", "config", "Print the bytes of an image's config."),
    "digest": Entry("look", "digest", "Print the digest that a name points at."),
    "push": Entry("push", "push", "Send an image of the store to a registry."),
    "copy": Entry("push", "copy", "Copy an image from anywhere to a registry or the store."),
    "run": Entry("launch", "run", "Run a command in an image."),
    "mount": Entry("roots", "mount", "Show an image as a read-only directory."),
    "umount": Entry("roots", "umount", "Undo a mount."),
    "unpack": Entry("roots", "unpack", "Write an image's files into a directory."),
    "bundle": Entry("launch", "bundle", "Make an OCI runtime bundle."),
    "export": Entry("roots", "export", "Write an image's files as one tar."),
    "serve": Entry("serve", "serve", "Serve the store as a registry."),
    "tag": Entry("names", "tag", "Give an image another name."),
    "untag": Entry("names", "untag", "Remove a name; the bytes stay until gc."),
    "rm": Entry("names", "remove", "Remove names, and what nothing else needs."),
    "gc": Entry("keep", "gc", "Free what no name needs."),
    "fsck": Entry("keep", "fsck", "Check every byte of the store."),
    "df": Entry("keep", "df", "Show what the store takes on disk."),
    "image": Entry("jobs", "image", "Take in version 1 images."),
    "job": Entry("jobs", "job", "Run a job of Docker's engine."),
    "demo": Entry("demo", "demo", "Try it all, offline, in a few seconds."),
    "completion": Entry("completion", "completion", "Print the completion script for a shell."),
}

HELP = """Fetch container images, keep them verified, use them without unpacking.

\b
  orlop run debian:12 cat /etc/os-release
  orlop mount docker://ghcr.io/owner/app:1.2 /mnt
"""


@click.group(
    cls=Commands,
    entries=ENTRIES,
    sections=SECTIONS,
    help=HELP,
    epilog="orlop COMMAND --help says more. Without docker://, oci:, oci-archive:, docker-archive: or store:, "
    "a name means the store where a command only looks, and a registry where it fetches.",
    invoke_without_command=True,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.pass_context
def root(context: click.Context) -> None:
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
