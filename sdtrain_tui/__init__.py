"""The terminal app and the `sdtrain` command; it never imports torch."""
