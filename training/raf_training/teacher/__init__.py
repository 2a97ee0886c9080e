"""A small image animator: what a head would look like in every pose, from a picture of it and rigged heads' example."""
