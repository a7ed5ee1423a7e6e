"""The wizard's steps, one file each, and what they share."""
