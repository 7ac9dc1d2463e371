"""From a manifest and an image to one container's configuration. Pure, but for reading the image's account files."""
